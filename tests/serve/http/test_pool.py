"""The threads of WSGI applications, and their way back to the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from hitless.serve.http.pool import ThreadPool

PATIENCE = 30


@pytest.fixture
async def pool() -> AsyncIterator[ThreadPool]:
    pool = ThreadPool(asyncio.get_running_loop(), threads=4)
    pool.start()
    yield pool
    pool.stop()


async def test_every_job_runs_and_every_post_arrives(pool: ThreadPool) -> None:
    done: list[int] = []
    finished = asyncio.Event()

    def arrived(number: int) -> None:
        done.append(number)
        if len(done) == 5000:
            finished.set()

    def job(number: int) -> Callable[[], None]:
        return lambda: pool.post(arrived, number)

    for number in range(5000):
        pool.submit(job(number))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.wait_for(finished.wait(), PATIENCE)
    assert sorted(done) == list(range(5000))


async def test_a_job_that_comes_to_sleeping_threads_is_taken(pool: ThreadPool) -> None:
    for _ in range(300):
        taken = asyncio.Event()
        pool.submit(lambda taken=taken: pool.post(taken.set))  # type: ignore[misc]
        await asyncio.wait_for(taken.wait(), PATIENCE)


async def test_a_blocked_thread_holds_up_no_other_job(pool: ThreadPool) -> None:
    gate = threading.Event()
    quick = asyncio.Event()
    for _ in range(3):
        pool.submit(lambda: gate.wait(PATIENCE) and None)
    pool.submit(lambda: pool.post(quick.set))
    await asyncio.wait_for(quick.wait(), PATIENCE)
    gate.set()


async def test_jobs_wait_for_a_thread_when_all_are_blocked(pool: ThreadPool) -> None:
    gate = threading.Event()
    started = threading.Barrier(5, timeout=PATIENCE)
    last = asyncio.Event()

    def block() -> None:
        started.wait()
        gate.wait(PATIENCE)

    for _ in range(4):
        pool.submit(block)
    await asyncio.get_running_loop().run_in_executor(None, started.wait)
    pool.submit(lambda: pool.post(last.set))
    await asyncio.sleep(0.02)  # not synchronisation: time in which nothing must happen
    assert not last.is_set()
    gate.set()
    await asyncio.wait_for(last.wait(), PATIENCE)


async def test_threads_end_when_the_pool_is_stopped() -> None:
    others = set(threading.enumerate())
    pool = ThreadPool(asyncio.get_running_loop(), threads=3)
    pool.start()
    started = set(threading.enumerate()) - others
    assert len(started) == 3
    pool.stop()
    for thread in started:
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()


def test_a_post_to_a_closed_loop_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    pool = ThreadPool(loop, threads=1)
    loop.close()
    pool.post(print)
