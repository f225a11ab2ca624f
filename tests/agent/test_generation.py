"""What listeners and other pollers build on: a generation that can be entered, and that says when what it was sent was taken."""

from __future__ import annotations

import asyncio

import pytest
from tests.agent.ground import BEGAN, DEADLINE_S, Ground, every, one_sample, running

from hitless.agent.agent import Agent
from hitless.agent.definition import Definition, Retry, Route, Sink
from hitless.agent.event import Event
from hitless.agent.polling.clock import Clock
from hitless.agent.polling.schedule import Schedule, Timetable
from hitless.agent.publishers.receipt import NotTaken
from hitless.agent.running import Running
from hitless.agent.sample import Sample


def sample(number: int, name: str = "m") -> Sample:
    return Sample(name, float(number), "x", "r", 0.0)


async def test_publish_returns_when_every_publisher_has_taken_it_and_not_before() -> None:
    ground = Ground()
    agent = ground.agent(running({}, {"a": ("kept://a",), "b": ("kept://b",)}))
    await agent.start()
    ground.one("kept://b").gate.clear()
    async with asyncio.timeout(DEADLINE_S), agent.enter("a listener") as generation:
        publishing = asyncio.create_task(generation.publish([sample(1), sample(2)]))
        await ground.one("kept://a").has(2)
        assert not publishing.done()
        ground.one("kept://b").gate.set()
        await publishing
    assert [each.volume for each in ground.one("kept://b").samples] == [1.0, 2.0]
    await agent.stop()


async def test_publish_raises_when_a_publisher_did_not_take_it_after_all_retries() -> None:
    ground = Ground()
    agent = ground.agent(running({}, {"a": ("kept://a",), "b": ("kept://b",)}))
    await agent.start()
    ground.one("kept://b").refusals = 3
    async with asyncio.timeout(DEADLINE_S), agent.enter() as generation:
        with pytest.raises(NotTaken, match="1 of 2"):
            await generation.publish([sample(1)])
        await generation.publish([sample(2)])
    await agent.stop()


async def test_what_no_pipeline_wants_is_taken_at_once() -> None:
    ground = Ground()
    agent = ground.agent(running({}, {}))
    await agent.start()
    async with asyncio.timeout(DEADLINE_S), agent.enter() as generation:
        await generation.publish([sample(1)])
        await generation.publish_events([Event("1", "a.b", 0.0)])
    await agent.stop()


async def test_what_is_sent_goes_where_its_generation_sends_it_whatever_has_been_put_in_force_since() -> None:
    ground = Ground()
    agent = ground.agent(running({}, {"a": ("kept://old",)}))
    await agent.start()
    async with asyncio.timeout(DEADLINE_S), agent.enter() as generation:
        await agent.reload(running({}, {"a": ("kept://new",)}))
        await generation.publish([sample(1)])
    assert len(ground.one("kept://old").samples) == 1
    assert ground.one("kept://new").samples == []
    await agent.stop()


async def test_events_go_by_their_type_to_sinks_of_events() -> None:
    ground = Ground()
    sinks = {"s": Sink(publishers=("kept://events",), retry=Retry(attempts=1))}
    routes = {"vms": Route(names=("compute.*",), sinks=("s",))}
    agent = ground.agent(Running.of(Definition(events=routes, event_sinks=sinks)))
    await agent.start()
    wanted, other = (
        Event("1", "compute.instance.create", 0.0, {"host": "a"}),
        Event("2", "volume.create", 0.0),
    )
    async with asyncio.timeout(DEADLINE_S), agent.enter() as generation:
        await generation.publish_events([wanted, other])
    assert ground.one("kept://events").events == [wanted]
    await agent.stop()


async def test_a_sink_that_blocks_holds_up_who_sends_until_there_is_room_and_drops_nothing() -> None:
    ground = Ground()
    blocking = running({}, {"a": ("kept://a",)}, buffer=2, batch_size=1, when_full="block")
    agent = ground.agent(blocking)
    await agent.start()
    kept = ground.one("kept://a")
    kept.gate.clear()
    async with asyncio.timeout(DEADLINE_S), agent.enter() as generation:
        sending = asyncio.create_task(generation.send([sample(number) for number in range(5)]))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not sending.done()
        kept.gate.set()
        await (await sending).taken()
    assert [each.volume for each in kept.samples] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert agent.tally.sinks["a 0 kept://a"]["dropped"] == 0
    await agent.stop()


class Odd:
    """Resources whose number is odd; notes who was asked about."""

    def __init__(self) -> None:
        self.groups: set[str] = set()

    def schedule(self, clock: Clock) -> Timetable:
        return Schedule()

    def owns(self, group_id: str, resource: str, at: float) -> bool:
        self.groups.add(group_id)
        return int(resource[-1]) % 2 == 1


async def test_only_resources_that_the_partition_gives_this_agent_are_polled() -> None:
    ground, odd = Ground(a=one_sample), Odd()
    sources = {
        "static": every(1, "a", jitter=0, resources=("r1", "r2", "r3")),
        "found": every(1, "a", jitter=0, resources=(), discovery=("two://d",)),
        "others": every(1, "a", jitter=0, resources=("r4",)),
    }
    agent = ground.agent(running(sources, {"s": ("kept://a",)}), partition=odd)
    await agent.start()
    await ground.clock.turn(0)
    await ground.one("kept://a").has(3)
    await agent.stop()
    found = sorted(each.resource for each in ground.one("kept://a").samples)
    assert found == ["d-1", "r1", "r3"]
    assert "global" in odd.groups
    assert len(odd.groups) == 3
    assert agent.tally.polls["polls"] == 2


async def turned(ground: Ground, agent: Agent, seconds: int) -> None:
    """Each tick has ended before the next begins."""
    for second in range(seconds + 1):
        await ground.clock.turn(float(second > 0))
        async with asyncio.timeout(DEADLINE_S):
            await agent._poller.idle()


async def test_due_times_go_on_in_another_agent_with_none_left_out_and_none_twice() -> None:
    ground = Ground(a=one_sample)
    described = running({"s": every(10, "a", jitter=0), "t": every(7, "a", jitter=0)}, {"x": ("kept://a",)})
    first = ground.agent(described)
    await first.start()
    await turned(ground, first, 25)
    due = await first.leave_off()
    assert due == {"s": BEGAN + 30, "t": BEGAN + 28}
    second = ground.agent(described)
    await second.start(polls=False)
    await first.stop()
    ground.clock.time += 4  # nobody polls for a while, and a due time passes
    second.begin(due)
    await turned(ground, second, 16)
    await second.stop()
    times: dict[str, list[float]] = {"s": [], "t": []}
    for made in ground.kept["kept://a"]:
        for each in made.samples:
            times[each.source].append(each.at - 1_000_000.0 - BEGAN)
    assert times == {"s": [0, 10, 20, 30, 40], "t": [0, 7, 14, 21, 28, 35, 42]}
