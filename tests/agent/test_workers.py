"""Threads that are kept: each call runs at once, whatever the others do, and what it raises belongs to who waits for it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import weakref

import pytest
from tests.agent.ground import DEADLINE_S

from hitless.agent.workers import Workers

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("variable")


async def test_one_that_hangs_holds_up_no_other_and_threads_are_used_again() -> None:
    workers, let_go = Workers(), threading.Event()
    hanging = asyncio.create_task(workers.run(lambda: let_go.wait(DEADLINE_S), "hangs"))
    async with asyncio.timeout(DEADLINE_S):
        idents = [await workers.run(threading.get_ident, "quick") for _ in range(50)]
    assert len(set(idents)) <= 2
    assert not hanging.done()
    let_go.set()
    assert await hanging


async def test_all_of_many_run_at_the_same_time() -> None:
    workers, barrier = Workers(), threading.Barrier(20)
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(3):
            await asyncio.gather(*(workers.run(lambda: barrier.wait(DEADLINE_S), "meets") for _ in range(20)))


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(), SystemExit(3), KeyboardInterrupt()])
async def test_what_it_raises_is_told_and_ends_nothing(error: BaseException) -> None:
    def fail() -> None:
        raise error

    workers = Workers()
    with pytest.raises(Exception, match=r"x|StopIteration|wanted to end"):
        await workers.run(fail, "fails")
    assert await workers.run(lambda: 1, "goes on") == 1


async def test_context_variables_are_those_of_the_task_and_nothing_is_kept_alive() -> None:
    workers = Workers()
    VARIABLE.set(7)
    assert await workers.run(VARIABLE.get, "reads") == 7

    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    await workers.run(lambda thing=thing: thing, "returns")  # type: ignore[misc]
    del thing
    await workers.run(lambda: None, "another")
    gc.collect()
    assert gone() is None


async def test_idle_threads_end_and_calls_meanwhile_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitless.agent.workers.IDLE_S", 0.0005)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        workers = Workers()
        async with asyncio.timeout(DEADLINE_S):
            for number in range(500):
                found = await asyncio.gather(*(workers.run(lambda: 1, "one") for _ in range(1 + number % 3)))
                assert sum(found) == 1 + number % 3
                await asyncio.sleep(0.0005)
    finally:
        sys.setswitchinterval(before)
