"""Publishers on real files: complete lines, rotation by size, one transaction per batch."""

from __future__ import annotations

import json
import logging
import resource
import socket
import sqlite3
import time
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitless.agent.publishers.file import FilePublisher
from hitless.agent.publishers.lines import line, lines
from hitless.agent.publishers.log import LogPublisher
from hitless.agent.publishers.prometheus import PrometheusPublisher
from hitless.agent.publishers.sqlite import SqlitePublisher
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample


def samples(count: int) -> list[Sample]:
    return [Sample("cpu", float(number), "s", "host", 1.5, metadata={"n": number}) for number in range(count)]


def file(url: str) -> FilePublisher:
    made = FilePublisher(PublisherUrl.parse(url))
    made.open()
    return made


def volumes(path: Path) -> list[float]:
    return [json.loads(line)["counter_volume"] for line in path.read_text().splitlines()]


def test_each_sample_is_one_line_of_json_and_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    for _ in range(2):
        publisher = file(f"file://{path}")
        publisher.publish(samples(3))
        publisher.close()
    assert volumes(path) == [0, 1, 2, 0, 1, 2]
    first = json.loads(path.read_text().splitlines()[0])
    assert first["counter_name"] == "cpu"
    assert first["timestamp"] == "1970-01-01T00:00:01.500000+00:00"
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_is_rotated_before_it_would_become_too_large(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    publisher = file(f"file://{path}?max_bytes=1KB&backup_count=2")
    for _ in range(20):
        publisher.publish(samples(2))
    publisher.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "samples.jsonl",
        "samples.jsonl.1",
        "samples.jsonl.2",
    ]
    assert all(each.stat().st_size <= 1000 for each in tmp_path.iterdir())
    assert all(volumes(each) for each in tmp_path.iterdir())


def test_nothing_is_lost_by_rotation_while_there_are_backups_enough(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    publisher = file(f"file://{path}?max_bytes=1KB&backup_count=50")
    for number in range(40):
        publisher.publish([Sample("cpu", float(number), "s", "host", 0.0)])
    publisher.close()
    found = sorted(volume for each in tmp_path.iterdir() for volume in volumes(each))
    assert found == [float(number) for number in range(40)]


def test_half_a_batch_is_taken_back_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    publisher = file(f"file://{path}")
    publisher.publish(samples(2))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError, match="too large"):
            publisher.publish(samples(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    publisher.publish(samples(1))
    publisher.close()
    assert volumes(path) == [0, 1, 0]


def test_a_database_gets_one_row_per_sample(tmp_path: Path) -> None:
    path = tmp_path / "samples.sqlite"
    publisher = SqlitePublisher(PublisherUrl.parse(f"sqlite://{path}?table=measured"))
    publisher.open()
    publisher.publish(samples(3))
    publisher.publish(samples(2))
    publisher.close()
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT meter, volume, unit, resource, at, metadata FROM measured").fetchall()
    database.close()
    assert len(rows) == 5
    assert rows[1] == ("cpu", 1.0, "s", "host", 1.5, '{"n": 1}')


def test_a_batch_that_fails_leaves_no_row(tmp_path: Path) -> None:
    path = tmp_path / "samples.sqlite"
    publisher = SqlitePublisher(PublisherUrl.parse(f"sqlite://{path}"))
    publisher.open()
    bad = [*samples(2), Sample("cpu", None, "s", "host", 0.0)]  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        publisher.publish(bad)
    publisher.publish(samples(1))
    publisher.close()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM samples").fetchone() == (1,)
    database.close()


def test_the_log_gets_one_line_per_sample(caplog: pytest.LogCaptureFixture) -> None:
    publisher = LogPublisher(PublisherUrl.parse("log://?level=warning"))
    publisher.open()
    with caplog.at_level(logging.WARNING, "hitless.samples"):
        publisher.publish(samples(2))
    publisher.close()
    assert [record.getMessage() for record in caplog.records] == [
        "sample cpu=0s resource=host",
        "sample cpu=1s resource=host",
    ]


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text: bytes = answer.read()
    return text.decode()


def test_prometheus_scrapes_the_last_value_of_each_series() -> None:
    publisher = PrometheusPublisher(PublisherUrl.parse("prometheus://127.0.0.1:0"))
    publisher.open()
    server, thread = publisher._server, publisher._thread
    assert thread is not None
    try:
        publisher.publish([Sample("host.load.1min", 1.5, "process", "a", 0.0, source="s")])
        publisher.publish([Sample("host.load.1min", 2.5, "process", "a", 1.0, source="s")])
        publisher.publish(
            [
                Sample(
                    "disk.read",
                    7.0,
                    "B",
                    "a/sda",
                    1.0,
                    "cumulative",
                    "s",
                    {"device": 'x"y', "deep": {"no": 1}},
                )
            ]
        )
        text = scraped(server.server_port)
    finally:
        publisher.close()
    assert 'host_load_1min{resource="a",source="s"} 2.5' in text
    assert 'disk_read_total{device="x\\"y",resource="a/sda",source="s"} 7.0' in text
    assert not thread.is_alive()
    assert server.socket.fileno() == -1  # closed


def test_series_that_get_no_samples_any_more_are_left_out() -> None:
    publisher = PrometheusPublisher(PublisherUrl.parse("prometheus://127.0.0.1:1?stale=1ms"))
    publisher.publish(samples(1))
    time.sleep(0.01)  # longer than it may be old
    assert list(publisher.collect()) == []


def test_an_address_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        publisher = PrometheusPublisher(
            PublisherUrl.parse(f"prometheus://127.0.0.1:{taken.getsockname()[1]}")
        )
        with pytest.raises(OSError, match="in use"):
            publisher.open()
        publisher.close()
    with pytest.raises(ValueError, match="expected an address"):
        PrometheusPublisher(PublisherUrl.parse("prometheus://gateway/push"))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Sample,
        st.text(max_size=8),
        st.floats() | st.integers(),
        st.text(max_size=3),
        st.text(max_size=8),
        st.floats(0, 4_000_000_000),
        st.sampled_from(["gauge", "delta", "cumulative"]),
        st.text(max_size=3),
        st.dictionaries(st.text(max_size=4), JSONS, max_size=4),
        st.none() | st.text(max_size=3),
        st.none() | st.text(max_size=3),
    )
)
def test_quick_lines_are_those_of_the_json_module(sample: Sample) -> None:
    assert line(sample) == json.dumps(sample.to_json())
    assert lines([sample, sample]).decode().splitlines() == [line(sample)] * 2
