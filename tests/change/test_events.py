from __future__ import annotations

import asyncio

import pytest

from hitless.change import Coalescer, Event, Events


def test_subscribers_are_told_in_order_until_they_leave() -> None:
    events, told = Events(clock=lambda: 5.0), []
    leave_one = events.subscribe(lambda event: told.append(("one", event.name)))
    events.subscribe(lambda event: told.append(("two", event.name)))
    assert events.emit("change.started", change=1) == Event(5.0, "change.started", {"change": 1})
    leave_one()
    leave_one()
    events.emit("change.committed")
    assert told == [("one", "change.started"), ("two", "change.started"), ("two", "change.committed")]


def test_one_that_subscribed_twice_is_told_twice_and_leaves_once() -> None:
    events, told = Events(), []
    leave = events.subscribe(told.append)
    events.subscribe(told.append)
    events.emit("a")
    leave()
    events.emit("b")
    assert [event.name for event in told] == ["a", "a", "b"]


def test_a_subscriber_that_raises_is_logged_and_keeps_nobody_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events, told = Events(), []

    def broken(event: Event) -> None:
        raise RuntimeError("broken hook")

    events.subscribe(broken)
    events.subscribe(told.append)
    events.emit("change.started")
    events.emit("change.committed")
    assert [event.name for event in told] == ["change.started", "change.committed"]
    assert caplog.text.count("RuntimeError: broken hook") == 2


def test_who_subscribes_or_leaves_while_being_told_confuses_nobody() -> None:
    events, told = Events(), []

    def leaves(event: Event) -> None:
        leave()
        events.subscribe(lambda event: told.append(f"late {event.name}"))

    leave = events.subscribe(leaves)
    events.subscribe(lambda event: told.append(event.name))
    events.emit("a")
    events.emit("b")
    assert told == ["a", "b", "late b"]


def test_the_past_is_bounded() -> None:
    events = Events(keep=3)
    for number in range(10):
        events.emit("tick", number=number)
    assert [event.fields["number"] for event in events.recent(100)] == [7, 8, 9]
    assert [event.fields["number"] for event in events.recent(2)] == [8, 9]
    assert events.recent(0) == ()


def test_fields_may_have_any_name() -> None:
    assert Events().emit("x", name="n", self="s").fields == {"name": "n", "self": "s"}


class Work:
    """An action that runs until it is let go, and counts."""

    def __init__(self) -> None:
        self.started = 0
        self.running = 0
        self.most = 0
        self.gate = asyncio.Semaphore(0)

    async def __call__(self) -> None:
        self.started += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.acquire()
        finally:
            self.running -= 1


async def test_a_storm_of_requests_during_a_run_makes_one_more() -> None:
    work = Work()
    coalescer = Coalescer(work)
    coalescer.request()
    await asyncio.sleep(0)
    for _ in range(1000):
        coalescer.request()
        await asyncio.sleep(0)
    assert work.started == 1
    for _ in range(10):
        work.gate.release()
    await coalescer.idle()
    assert (work.started, work.most) == (2, 1)
    assert not coalescer.is_running


async def test_requests_before_the_run_begins_are_one_run() -> None:
    work = Work()
    coalescer = Coalescer(work)
    for _ in range(5):
        coalescer.request()
    work.gate.release()
    await coalescer.idle()
    assert work.started == 1


async def test_a_request_after_a_run_makes_another() -> None:
    work = Work()
    coalescer = Coalescer(work)
    for count in range(1, 4):
        coalescer.request()
        work.gate.release()
        await coalescer.idle()
        assert work.started == count


async def test_a_run_that_fails_is_logged_and_the_next_request_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = 0

    async def fails_once() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            coalescer.request()
            raise RuntimeError("no luck")

    coalescer = Coalescer(fails_once)
    coalescer.request()
    await coalescer.idle()
    assert runs == 2
    assert "no luck" in caplog.text


async def test_close_ends_the_run_and_forgets_what_was_wanted() -> None:
    work = Work()
    coalescer = Coalescer(work)
    coalescer.request()
    await asyncio.sleep(0)
    coalescer.request()
    await coalescer.close()
    await coalescer.close()
    assert (work.started, work.running, coalescer.is_running) == (1, 0, False)
