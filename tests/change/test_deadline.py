from __future__ import annotations

import asyncio

import pytest

from hitless.change import Deadline, DeadlinePassed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_counts_down_and_never_below_nothing() -> None:
    clock = Clock()
    deadline = Deadline.after(5, clock)
    assert (deadline.remaining(), deadline.expired) == (5, False)
    clock.now += 4
    assert (deadline.remaining(), deadline.expired) == (1, False)
    clock.now += 1
    assert (deadline.remaining(), deadline.expired) == (0, True)
    clock.now += 100
    assert deadline.remaining() == 0


def test_the_sooner_of_two_counts() -> None:
    clock = Clock()
    deadline = Deadline.after(5, clock)
    assert deadline.sooner(2).remaining() == 2
    assert deadline.sooner(2).seconds == 2
    assert deadline.sooner(60) is deadline


async def test_what_comes_in_time_is_given() -> None:
    async def soon() -> int:
        await asyncio.sleep(0.01)
        return 7

    assert await Deadline.after(5).wait(soon(), "it did not come") == 7


async def test_what_does_not_come_is_cancelled_and_told() -> None:
    cancelled = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(DeadlinePassed) as caught:
        await Deadline.after(0.02).wait(never(), "worker 3 did not become ready")
    assert str(caught.value) == "worker 3 did not become ready within 0.02 s"
    assert (caught.value.what, caught.value.seconds) == ("worker 3 did not become ready", 0.02)
    assert cancelled.is_set()


async def test_what_is_there_already_is_taken_even_when_time_is_up() -> None:
    async def at_once() -> int:
        return 7

    assert await Deadline.after(0).wait(at_once(), "it did not come") == 7
    future = asyncio.get_running_loop().create_future()
    future.set_result(8)
    assert await Deadline.after(-1).wait(future, "it did not come") == 8


async def test_a_timeout_of_the_work_itself_is_not_taken_for_the_deadline() -> None:
    async def fails() -> None:
        raise TimeoutError("the database did not answer")

    with pytest.raises(TimeoutError, match="the database"):
        await Deadline.after(5).wait(fails(), "it did not come")


async def test_a_cancellation_from_outside_is_not_taken_for_the_deadline() -> None:
    task = asyncio.create_task(Deadline.after(5).wait(asyncio.Event().wait(), "it did not come"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
