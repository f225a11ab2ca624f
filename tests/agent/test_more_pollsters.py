"""Pollsters of other systems, each measuring a real one: a Prometheus exposition, a database, a container engine, a service."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from pydantic import BaseModel, ConfigDict
from tests.agent.test_pollsters import polled
from tests.containers.engines import private
from tests.servers.ports import free_port

from hitless.agent.plugins import DISCOVERY, POLLSTER, Plugins
from hitless.agent.polling.pollster import Cache, PermanentFailure, Poll
from hitless.agent.polling.query import QueryFailed
from hitless.agent.sample import Sample
from hitless.live import Runtime, Triggers

PLUGINS = Plugins()


# Prometheus


@pytest.fixture
def target() -> Iterator[str]:
    registry = CollectorRegistry()
    Gauge("temperature", "°", ["room"], registry=registry).labels('a "b"').set(21.5)
    requests = Counter("requests", "r", ["code"], registry=registry)
    requests.labels("200").inc(5)
    requests.labels("500").inc(1)
    Histogram("latency", "l", buckets=(0.1, 1.0), registry=registry).observe(0.5)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_series_is_a_sample_with_a_resource_of_its_own(target: str) -> None:
    found = {(each.name, each.resource): each for each in polled("prometheus.scrape", target)}
    temperature = found["temperature", f'{target}{{room="a "b""}}']
    assert (temperature.volume, temperature.kind, temperature.metadata) == (21.5, "gauge", {"room": 'a "b"'})
    counts = {
        each.resource: (each.volume, each.kind) for each in found.values() if each.name == "requests_total"
    }
    assert counts == {
        f'{target}{{code="200"}}': (5.0, "cumulative"),
        f'{target}{{code="500"}}': (1.0, "cumulative"),
    }
    assert found["latency_bucket", f'{target}{{le="1.0"}}'].kind == "cumulative"
    assert found["latency_count", target].volume == 1.0


def test_a_fragment_says_which_metrics_are_taken(target: str) -> None:
    assert {each.name for each in polled("prometheus.scrape", f"{target}#requests_total,latency_*")} == {
        "requests_total",
        "latency_bucket",
        "latency_count",
        "latency_sum",
        "latency_created",
    }


def test_a_target_that_is_not_there_is_down_and_gives_nothing_else(target: str) -> None:
    gone = f"http://127.0.0.1:{free_port()}/"
    cache = Cache()
    found = {each.resource: each.volume for each in polled("prometheus.up", target, gone, cache=cache)}
    assert found == {target: 1.0, gone: 0.0}
    assert {each.resource.partition("{")[0] for each in polled("prometheus.scrape", target, gone)} == {target}
    (missing,) = polled("prometheus.up", target.replace("/metrics", "/metrics/x?name[]=none"))
    assert missing.volume in (0.0, 1.0)


@pytest.mark.parametrize("url", ["ftp://x/", "http://h/#!a,b", "http:///metrics"])
def test_what_cannot_be_scraped_is_refused_for_good(url: str) -> None:
    with pytest.raises(PermanentFailure):
        polled("prometheus.scrape", url)


# SQL


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE orders (state TEXT, price REAL)")
        made.executemany("INSERT INTO orders VALUES (?, ?)", [("open", 5.0), ("open", 7.0), ("paid", 1.5)])
    made.close()
    return f"sqlite:///{path}"


def test_each_row_is_a_sample(database: str) -> None:
    statement = "SELECT state AS resource, count(*) AS volume, sum(price) AS worth, 'order' AS unit FROM orders GROUP BY state"
    found = polled("sql.query", f"{database}#{statement}")
    assert [(each.name, each.resource, each.volume, each.unit, dict(each.metadata)) for each in found] == [
        ("sql.query", f"{database}/open", 2.0, "order", {"worth": 12.0}),
        ("sql.query", f"{database}/paid", 1.0, "order", {"worth": 1.5}),
    ]


def test_one_numeric_column_needs_no_name_and_a_row_may_name_its_meter(database: str) -> None:
    (sample,) = polled(
        "sql.query", f"{database}#SELECT 'orders.total' AS name, 'cumulative' AS kind, count(*) FROM orders"
    )
    assert (sample.name, sample.volume, sample.kind, sample.resource) == (
        "orders.total",
        3.0,
        "cumulative",
        database,
    )


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELECT * FROM orderz", "no such table"),
        ("SELECT state FROM orders", "name the column of the value"),
        ("SELECT state AS volume FROM orders", "is no number"),
        ("SELECT 1 AS volume, 'rate' AS kind", "the kind rate is none of"),
    ],
)
def test_what_is_no_list_of_samples_fails_and_says_why(database: str, statement: str, says: str) -> None:
    with pytest.raises(QueryFailed, match=says):
        polled("sql.query", f"{database}#{statement}")


def test_what_a_query_changes_is_rolled_back(database: str) -> None:
    polled("sql.query", f"{database}#DELETE FROM orders RETURNING 1 AS volume")
    (sample,) = polled("sql.query", f"{database}#SELECT count(*) FROM orders")
    assert sample.volume == 3.0


def test_a_url_that_cannot_be_is_refused_for_good_without_its_password() -> None:
    with pytest.raises(PermanentFailure) as caught:
        polled("sql.query", "oracular://me:hush@h/db#SELECT 1")
    assert "hush" not in str(caught.value)
    with pytest.raises(PermanentFailure, match="polls URL#QUERY"):
        polled("sql.query", "sqlite://")


# Containers


async def measured(meter: str, *resources: str) -> dict[str, Sample]:
    poll = Poll(meter, "test", resources, 0.0, 60.0)
    found = await PLUGINS.load(POLLSTER, meter).measure(poll)
    return {each.resource.partition("#")[2]: each for each in found}


@pytest.mark.timeout(300)
async def test_containers_are_found_and_measured() -> None:
    with private("docker") as engine:
        await asyncio.to_thread(engine.run, "lives", "sleep", "1000", options=("--memory", "64m"))
        await asyncio.to_thread(engine.run, "ended", "true")
        resources = await PLUGINS.load(DISCOVERY, "containers").find(str(engine.socket))
        assert {each.partition("#")[2] for each in resources} == {"lives", "ended"}
        running = await measured("container.running", *resources, f"container://{engine.socket}#gone")
        assert running["lives"].volume == 1.0
        assert running["lives"].metadata["image"] == "busybox"
        assert set(running) == {"lives", "ended"}
        limits = await measured("container.memory.limit", *resources)
        assert {name: each.volume for name, each in limits.items()} == {"lives": 64.0 * 2**20}
        assert (await measured("container.restarts", *resources))["lives"].volume == 0
        for meter in ("container.memory.usage", "container.cpu.time"):
            (used,) = (await measured(meter, *resources)).values()
            assert used.volume > 0
        assert await measured("container.healthy", *resources) == {}


async def test_what_is_no_container_is_refused_for_good() -> None:
    with pytest.raises(PermanentFailure):
        await measured("container.running", "container://name")


# Hitless's own services


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    port: int = 1


async def test_services_are_found_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITLESS_RUN_DIR", str(tmp_path))
    runtime = Runtime(Settings, name="shop")

    @runtime.on_change(when="prepare")
    def picky(_: Settings, new: Settings) -> None:
        if new.port < 0:
            raise ValueError("no such port")

    await runtime.start(
        settings=Settings(), triggers=Triggers(control=True, state_dir=str(tmp_path / "state"))
    )

    def measure() -> dict[str, float]:
        meters = ("service.up", "service.generation", "service.drift", "service.draining", "service.workers")
        (found,) = PLUGINS.load(DISCOVERY, "services").find(None)
        assert found == "service://shop"
        cache = Cache()
        return {each: polled(each, found, cache=cache)[0].volume for each in meters}

    before = await asyncio.to_thread(measure)
    assert before == {
        "service.up": 1,
        "service.generation": 1,
        "service.drift": 0,
        "service.draining": 0,
        "service.workers": 0,
    }
    await runtime.reload(Settings(port=2))
    await runtime.reload(Settings(port=-1))
    after = await asyncio.to_thread(measure)
    assert (after["service.generation"], after["service.drift"]) == (2, 1)
    await runtime.stop()
    (down,) = polled("service.up", "service://shop")
    assert down.volume == 0
    assert polled("service.generation", "service://shop") == []
    assert threading.active_count() >= 1
