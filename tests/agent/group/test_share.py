"""A member's share as its poller sees it: a tick keeps what was known when it began."""

from __future__ import annotations

from dataclasses import replace

from tests.agent.ground import Ground, TurnedClock, every, one_sample, running

from hitless.agent.definition import PollingSource
from hitless.agent.group.directory import boottime
from hitless.agent.group.member import Member
from hitless.agent.group.record import Assignment, Change, Record
from hitless.agent.group.share import Share

ME = Member(name="one", incarnation="1")
SOURCE = PollingSource(interval=1, meters=("m",), resources=("r",), jitter=0.0)


def assignment(number: int, at: int, *, epoch: int, members: tuple[Member, ...] = (ME,)) -> Assignment:
    return Assignment(number=number, at=at, members=members, epoch=epoch, config=str(epoch))


def begun() -> tuple[Share, TurnedClock, int]:
    """A member that polls by epoch 1, and whose clock is a moment before the next tick."""
    share, clock = Share(ME), TurnedClock()
    share.lease_end = boottime() + 3600
    now = round(clock.wall() * 1000)
    share.knows = replace(
        share.knows, record=Record(assignment=assignment(1, now - 5000, epoch=1), epochs=1), epoch=1
    )
    schedule = share.schedule(clock)
    schedule.arrange({"s": SOURCE}, clock.now())
    list(schedule.take(clock.now()))
    return share, clock, now // 1000 * 1000 + 1000


def test_a_tick_before_a_boundary_is_polled_though_the_boundary_has_passed_when_its_resources_are_known() -> (
    None
):
    share, clock, due = begun()
    change = Change(phase="committed", attempt=1, next=assignment(2, due + 3, epoch=2))
    share.knows = replace(share.knows, record=share.knows.record.model_copy(update={"change": change}))
    clock.time += 1.06
    assert share._schedule is not None
    (tick,) = share._schedule.take(clock.now())
    assert tick.at == due / 1000
    share.knows = replace(share.knows, epoch=2)
    assert share.owns("g", "r", due / 1000)


def test_what_is_due_at_a_boundary_waits_for_its_configuration() -> None:
    share, clock, due = begun()
    change = Change(phase="committed", attempt=1, next=assignment(2, due, epoch=2))
    share.knows = replace(share.knows, record=share.knows.record.model_copy(update={"change": change}))
    clock.time += 1.06
    assert share._schedule is not None
    assert list(share._schedule.take(clock.now())) == []
    assert share._schedule.next_due is None
    share.knows = replace(share.knows, epoch=2)
    (tick,) = share._schedule.take(clock.now())
    assert tick.at == due / 1000
    assert share.owns("g", "r", due / 1000)


def test_without_a_lease_nothing_is_begun() -> None:
    share, clock, _ = begun()
    share.lease_end = boottime() - 1
    clock.time += 10
    assert share._schedule is not None
    assert list(share._schedule.take(clock.now())) == []


async def test_a_tick_that_was_taken_a_moment_before_a_swap_has_its_generation_when_the_swap_comes() -> None:
    """The poller has taken it, and its task has not run yet: it would get the new generation, which knows nothing of it."""
    ground = Ground(a=one_sample)
    agent = ground.agent(running({"s": every(1, "a", jitter=0)}, {"k": ("kept://k",)}))
    await agent.start()
    await ground.clock.turn(0)
    await ground.one("kept://k").has(1)
    await agent._poller.idle()
    ground.clock.time += 1.0
    agent._poller._take()
    await agent.catch_up()
    current = agent.runtime.leases.current
    assert current is not None
    assert len(current.held) == 1
    await agent._poller.idle()
    await agent.stop()
