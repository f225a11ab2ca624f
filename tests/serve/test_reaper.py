from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from hitless.serve.reaper import Exit, Reaper


@pytest.fixture
async def reaper() -> AsyncIterator[Reaper]:
    loop = asyncio.get_running_loop()
    yield Reaper(loop)
    loop.remove_signal_handler(signal.SIGCHLD)


def child_that_waits() -> int:
    return os.posix_spawn("/bin/sleep", ["sleep", "60"], {})


def child_that_exits(code: int) -> int:
    return os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {code}"], {})


def await_death(pid: int) -> None:
    """Waits until it is dead, and leaves it to be reaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def end_of(reaper: Reaper, pid: int) -> Exit:
    ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    reaper.watch(pid, ended.set_result)
    return await asyncio.wait_for(ended, 5)


async def test_how_a_child_ended_is_told_once_to_who_watches_it(reaper: Reaper) -> None:
    pid = child_that_waits()
    told: list[Exit] = []
    reaper.watch(pid, told.append)
    os.kill(pid, signal.SIGKILL)
    other = child_that_exits(3)
    assert (await end_of(reaper, other)).code == 3
    async with asyncio.timeout(5):
        while not told:  # noqa: ASYNC110 - told by a signal handler
            await asyncio.sleep(0.001)
    assert told == [Exit(None, signal.SIGKILL)]


async def test_a_death_before_anybody_watched_is_kept_for_who_asks(reaper: Reaper) -> None:
    pid = child_that_exits(7)
    await_death(pid)
    reaper.reap()
    assert (await end_of(reaper, pid)).code == 7


async def test_an_earlier_process_with_the_same_pid_is_not_taken_for_a_new_child(reaper: Reaper) -> None:
    pid = child_that_waits()
    reaper._unclaimed[pid] = Exit(0, None)  # an orphan of the application that nobody asked about, long ago
    told: list[Exit] = []
    reaper.watch(pid, told.append)
    assert told == []
    os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(5):
        while not told:  # noqa: ASYNC110 - told by a signal handler
            await asyncio.sleep(0.001)
    assert told == [Exit(None, signal.SIGTERM)]
