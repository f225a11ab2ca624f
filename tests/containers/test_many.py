"""Many containers at the same time: each finishes its work, and they do not wait for each other."""

from __future__ import annotations

import asyncio
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine
from tests.containers.hitless_cli import Operator

pytestmark = pytest.mark.root

WORKS = "trap 'sleep {seconds}; echo finished; exit 0' TERM; echo ready; while :; do sleep 0.5; done"


def many(engine: PrivateEngine, count: int, seconds: float) -> list[str]:
    def one(number: int) -> str:
        name = f"many-{number:02}"
        engine.run(name, "sh", "-c", WORKS.format(seconds=seconds), options=("--label", "many=yes"))
        engine.await_log(name, "ready", 120)
        return name

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, range(count)))


def stopped_together(operator: Operator, count: int, seconds: float) -> tuple[float, list[float]]:
    """How long it took altogether, and each of them."""
    engine = operator.engine
    names = many(engine, count, seconds)
    try:
        began = time.monotonic()
        said = operator.run("stop", "--label", "many=yes", "--wait", "5m", "--json")
        took = time.monotonic() - began
        assert said.code == 0, said
        outcomes = said.json["containers"]
        assert [each["container"] for each in outcomes] == names
        assert {each["outcome"] for each in outcomes} == {"clean"}
        for name in names:
            assert "finished" in engine.logs(name), "its work was lost"
        return took, [each["seconds"] for each in outcomes]
    finally:
        engine.remove(*names)


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
@pytest.mark.timeout(300)
def test_containers_finish_their_work_at_the_same_time(operator: Operator) -> None:
    took, each = stopped_together(operator, 6, 8)
    assert min(each) >= 7.5
    assert took < sum(each), "one after the other"


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_fifty_containers_are_stopped_in_the_time_of_the_slowest(operator: Operator) -> None:
    took, each = stopped_together(operator, 50, 30)
    print(f"50 containers on {operator.engine.kind}: {took:.1f} s in all, the slowest {max(each):.1f} s")
    assert took < 1.3 * max(each)


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
@pytest.mark.timeout(200)
def test_no_more_than_allowed_are_stopped_at_once(operator: Operator) -> None:
    engine = operator.engine
    names = many(engine, 3, 2)
    try:
        said = operator.run("stop", *names, "--max-parallel", "1", "--json")
        assert said.code == 0, said
        ended = sorted(engine.inspect(name)["State"]["FinishedAt"] for name in names)
        seconds = [float(each[17:].rstrip("Z")) for each in ended]
        gaps = [(later - sooner) % 60 for sooner, later in itertools.pairwise(seconds)]
        assert all(gap >= 1.9 for gap in gaps), ended
    finally:
        engine.remove(*names)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_an_engine_that_restarts_while_a_container_stops_costs_nothing(kind: str, tmp_path: Path) -> None:
    from tests.containers.engines import missing, private

    from hitless.change import Events
    from hitless.containers import Ended, Engine, Fleet, Hub, Intents, Target, parameters

    assert missing(kind) is None  # type: ignore[arg-type]
    options = ("--live-restore",) if kind == "docker" else ()

    async def stopped(engine: PrivateEngine) -> None:
        async with Engine(engine.socket) as client, Hub(client) as hub:
            fleet = Fleet(client, hub, Intents(tmp_path, "e"), events=Events())
            sent = asyncio.Event()
            fleet.events.subscribe(lambda event: sent.set() if event.name == "container.signalled" else None)
            container = await client.inspect("work")
            applied = parameters(container, client.dialect, given={"wait": 120.0})
            task = asyncio.create_task(fleet.stop_one(Target(container, applied)))
            await sent.wait()
            await asyncio.to_thread(engine.end)
            await asyncio.to_thread(engine.start)
            outcome = await task
        assert (outcome.ended, outcome.exit_code) == (Ended.CLEAN, 0), outcome
        assert [step.signal for step in outcome.steps] == ["SIGTERM"], "sent once"

    with private(kind, *options) as engine:  # type: ignore[arg-type]
        engine.run("work", "sh", "-c", WORKS.format(seconds=6))
        engine.await_log("work", "ready")
        asyncio.run(stopped(engine))
        assert "finished" in engine.logs("work")
