"""An agent takes a new definition while it polls: nothing is lost or doubled, and what is bad changes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from tests.agent.ground import BEGAN, DEADLINE_S, WALL, Ground, every, one_sample, one_sample_later, running

from hitless.agent.agent import Agent
from hitless.agent.polling.pollster import PermanentFailure, Poll
from hitless.agent.polling.schedule import spread
from hitless.agent.running import Running
from hitless.agent.sample import Sample
from hitless.change import Status

SOURCES = 500


async def settled(agent: Agent) -> None:
    """Every tick that has begun has ended."""
    async with asyncio.timeout(DEADLINE_S):
        await agent._poller.idle()


def fleet(changed: int) -> Running:
    """Many sources, of which one is as it was `changed` changes ago; its sink goes with it."""
    sources: dict[str, Any] = {f"s{number}": every(5 + number % 11, "a") for number in range(SOURCES)}
    sources["s7"] = every(5 + changed % 3, "a", resources=(f"r{changed}",))
    return running(sources, {"archive": ("kept://all",), f"sink{changed % 2}": (f"kept://{changed % 2}",)})


async def changed_under_way(changes: int) -> None:
    ground = Ground(a=one_sample_later)
    agent = ground.agent(fleet(0))
    await agent.start()
    for number in range(1, changes + 1):
        await ground.clock.turn(1.0)  # ticks have begun, and have not ended
        outcome = await agent.reload(fleet(number))
        assert outcome.status is Status.APPLIED, outcome.message
    await ground.clock.turn(1.0)
    end = ground.clock.now()
    await agent.stop()
    expected: Counter[tuple[str, float]] = Counter()
    for name, source in fleet(0).definition.polling.items():
        due = BEGAN + source.interval * spread(name)
        while due <= end:
            expected[name, round(WALL + due, 3)] += 1
            due += source.interval
    found = Counter((each.source, round(each.at, 3)) for each in ground.one("kept://all").samples)
    for counts in (expected, found):
        for key in [key for key in counts if key[0] == "s7"]:
            del counts[key]
    assert found == expected
    assert ground.one("kept://all").opened == ground.one("kept://all").closed == 1
    assert all(each.opened == each.closed == 1 for made in ground.kept.values() for each in made)
    for name, counts in agent.tally.sinks.items():
        assert counts["offered"] == counts["published"] > 0, (name, counts)


async def test_changing_one_source_of_500_moves_no_tick_of_another_and_loses_and_doubles_nothing() -> None:
    await changed_under_way(25)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_changing_one_source_of_500_two_hundred_times() -> None:
    await changed_under_way(200)


class Held:
    """A pollster that begins and then waits to be let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, poll: Poll) -> list[Sample]:
        self.begun.set()
        await self.let_go.wait()
        return one_sample(poll)


async def test_what_was_being_polled_is_published_through_the_pipelines_in_which_it_began() -> None:
    held = Held()

    async def hold(poll: Poll) -> list[Sample]:
        return await held(poll)

    ground = Ground(slow=hold, quick=one_sample)
    sources = {"slow": every(1000, "slow", jitter=0), "quick": every(1000, "quick")}
    agent = ground.agent(running(sources, {"old": ("kept://old",)}))
    await agent.start()
    await ground.clock.turn(0)
    async with asyncio.timeout(DEADLINE_S):
        await held.begun.wait()
    outcome = await agent.reload(running({"quick": sources["quick"]}, {"new": ("kept://new",)}))
    assert outcome.status is Status.APPLIED
    assert ground.one("kept://old").closed == 0
    held.let_go.set()
    async with asyncio.timeout(DEADLINE_S):
        await agent.runtime.drained()
    old = ground.one("kept://old")
    assert [each.source for each in old.samples] == ["slow"]
    assert old.closed == 1
    assert ground.one("kept://new").samples == []
    await agent.stop()


async def test_a_removed_sink_is_flushed_before_its_publisher_is_closed() -> None:
    ground = Ground(a=one_sample)
    agent = ground.agent(running({"s": every(1, "a", jitter=0)}, {"old": ("kept://old",)}, batch_size=1))
    await agent.start()
    old = ground.one("kept://old")
    old.gate.clear()
    for _ in range(10):
        await ground.clock.turn(1.0)
        await settled(agent)
    assert (await agent.reload(running({}, {}))).status is Status.APPLIED
    assert old.samples == []
    old.gate.set()
    async with asyncio.timeout(DEADLINE_S):
        await agent.runtime.drained()
    assert len(old.samples) == agent.tally.polls["samples"] >= 10
    assert old.closed == 1
    await agent.stop()


async def test_a_publisher_that_cannot_be_opened_rejects_the_change_and_the_old_goes_on() -> None:
    ground = Ground(a=one_sample)
    sources = {"s": every(1, "a", jitter=0)}
    agent = ground.agent(running(sources, {"archive": ("kept://all",)}))
    await agent.start()
    bad = running({}, {"archive": ("kept://all", "kept://unopenable")})
    outcome = await agent.reload(bad)
    assert outcome.status is Status.REJECTED
    assert "nobody listens there" in outcome.message
    for number in range(4):
        await ground.clock.turn(float(number > 0))
        await settled(agent)
    await agent.stop()
    assert len(ground.one("kept://all").samples) == 4
    assert ground.one("kept://all").opened == ground.one("kept://all").closed == 1


async def test_the_same_definition_changes_nothing() -> None:
    ground = Ground(a=one_sample)
    agent = ground.agent(running({"s": every(1, "a")}, {"archive": ("kept://all",)}))
    await agent.start()
    outcome = await agent.reload(running({"s": every(1, "a")}, {"archive": ("kept://all",)}))
    assert outcome.status is Status.UNCHANGED
    await agent.stop()
    assert ground.one("kept://all").opened == 1


async def test_what_cannot_be_polled_is_set_aside_and_tried_again_after_a_change() -> None:
    asked: list[tuple[str, ...]] = []
    lock = threading.Lock()

    def picky(poll: Poll) -> list[Sample]:
        with lock:
            asked.append(poll.resources)
        if "bad" in poll.resources:
            raise PermanentFailure(["bad"], "it is no such thing")
        return one_sample(poll)

    ground = Ground(picky=picky)
    sources = {"s": every(1, "picky", jitter=0, resources=("good", "bad"))}
    agent = ground.agent(running(sources, {"archive": ("kept://all",)}))
    await agent.start()
    for step in (0.0, 1.0, 1.0):
        await ground.clock.turn(step)
        await settled(agent)
    assert asked == [("good", "bad"), ("good",), ("good",)]
    assert agent.tally.polls["set_aside"] == 1
    await agent.reload(
        running({**sources, "t": every(1000, "picky", resources=())}, {"archive": ("kept://all",)})
    )
    await ground.clock.turn(1.0)
    await settled(agent)
    assert ("good", "bad") in asked[3:]
    await agent.stop()


async def test_a_pollster_that_hangs_or_fails_delays_no_other() -> None:
    let_go = threading.Event()

    def hangs(poll: Poll) -> list[Sample]:
        assert let_go.wait(DEADLINE_S)
        return []

    def fails(poll: Poll) -> list[Sample]:
        raise ZeroDivisionError("no")

    ground = Ground(hangs=hangs, fails=fails, good=one_sample)
    sources = {"s": every(1, "hangs", "fails", "good", jitter=0, timeout=1000.0)}
    agent = ground.agent(running(sources, {"archive": ("kept://all",)}))
    await agent.start()
    for number in range(5):
        await ground.clock.turn(float(number > 0))
        await ground.one("kept://all").has(number + 1)
    assert agent.tally.polls["skipped"] >= 4
    let_go.set()
    await agent.stop()
    assert agent.tally.polls["timeouts"] == 0
    assert agent.tally.polls["errors"] >= 1
    assert len(ground.one("kept://all").samples) == 5


async def test_discovery_finds_what_is_polled() -> None:
    ground = Ground(a=one_sample, b=one_sample)
    sources = {"s": every(1, "a", "b", jitter=0, resources=("fixed",), discovery=("two://x",))}
    agent = ground.agent(running(sources, {"archive": ("kept://all",)}))
    await agent.start()
    await ground.clock.turn(0.5)
    await settled(agent)
    await agent.stop()
    found = Counter((each.name, each.resource) for each in ground.one("kept://all").samples)
    assert found == Counter((meter, each) for meter in "ab" for each in ("fixed", "x-1", "x-2"))


async def test_a_discovery_that_hangs_is_not_begun_again_and_again() -> None:
    ground = Ground(a=one_sample_later, b=one_sample_later)
    sources = {
        "s": every(1, "a", "b", jitter=0, resources=(), discovery=("hangs",), timeout=0.01),
        "good": every(1, "a", jitter=0),
    }
    agent = ground.agent(running(sources, {"archive": ("kept://all",)}))
    await agent.start()
    for number in range(5):
        await ground.clock.turn(float(number > 0))
        await settled(agent)
    assert agent.tally.polls["timeouts"] == 10
    assert ground.searches == 1
    ground.let_go.set()
    await agent.stop()
    assert len(ground.one("kept://all").samples) == 5


async def test_what_a_pollster_gives_that_nobody_can_write_costs_nothing_beside_it() -> None:
    odd: list[Any] = [
        {"name": "a dict"},
        Sample("other", 1.0, "x", "r", 1.0, metadata={"when": object()}),  # type: ignore[dict-item]
        Sample("other", Decimal(1), "x", "r", 1.0),  # type: ignore[arg-type]
        Sample("other", 1.0, "x", "half a \ud800", 1.0),
        Sample("other", 1.0, "x", "r", 1e300),
        Sample({}, 1.0, "x", "r", 1.0),  # type: ignore[arg-type]
    ]

    def mixed(poll: Poll) -> list[Any]:
        return [*odd, *one_sample(poll)]

    async def mixed_later(poll: Poll) -> list[Any]:
        return mixed(poll)

    ground = Ground(mixed=mixed, later=mixed_later, good=one_sample)
    sources = {"all": every(10, "mixed", "later", "good", jitter=0)}
    agent = ground.agent(running(sources, {"one": ("kept://one",)}))
    await agent.start()
    await ground.clock.turn(0)
    await ground.one("kept://one").has(3)
    assert {each.name for each in ground.one("kept://one").samples} == {"mixed", "later", "good"}
    assert agent.tally.polls["errors"] == 2
    await agent.stop()
