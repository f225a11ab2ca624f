"""Threads for WSGI applications, and their way back to the event loop.

Two things here are expensive, and both are a switch of threads: waking a thread that sleeps, and waking the
loop. Under load there is a batch of requests to hand over and a batch of responses to hand back, so both
are woken once per batch.

*To the threads.* A queue that wakes a thread per job has eight of them fight for the interpreter over jobs
that one of them does in a row. So one is woken for a batch; it takes job after job. If a job of the batch
still waits a moment later the thread is blocked in one before it (else it would have taken it): then as many
more are woken as there are jobs. Jobs that came meanwhile say nothing: under load there are always some.

*To the loop.* Only the first of several completions wakes it. The flag that says "a wake-up is on its way"
is cleared *before* the posts are taken: a thread that posts while they are being taken sees either the flag
cleared (and wakes the loop again) or its post taken now. Cleared afterwards, a post could lie until the
next.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

MOMENT: Final = 0.001
"""Seconds after which jobs that still wait get more threads."""


class ThreadPool:
    """Runs jobs in threads; the threads post calls to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, threads: int) -> None:
        self._loop = loop
        self._size = threads
        self._jobs: deque[Callable[[], None] | None] = deque()
        self._asleep: list[threading.Lock] = []
        self._is_handing = self._is_watched = False
        self._submitted = 0
        self._posts: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._is_waking = False
        self._started = 0

    # On the event loop.

    def start(self) -> None:
        """Start the threads; daemons, so that one stuck in an application cannot keep the process from
        exiting.
        """
        for number in range(self._size):
            threading.Thread(target=self._work, name=f"wsgi-{number}", daemon=True).start()
        self._started = self._size

    def stop(self) -> None:
        """Let the threads end after the jobs that are queued."""
        self._jobs.extend([None] * self._started)
        self._started = 0
        self._wake(self._size)

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job` in a thread; it must contain its own errors."""
        self._jobs.append(job)
        self._submitted += 1
        if not self._is_handing:
            self._is_handing = True
            self._loop.call_soon(self._hand_over)  # after the reads of this turn: they belong to the batch

    def _hand_over(self) -> None:
        self._is_handing = False
        self._wake(1)
        if not self._is_watched:
            self._is_watched = True
            self._loop.call_later(MOMENT, self._watch, self._submitted)

    def _watch(self, submitted: int) -> None:
        """Look after the jobs that were there a moment ago, when `submitted` had come altogether."""
        waiting = len(self._jobs)
        if waiting and self._asleep:
            if self._submitted - waiting < submitted:
                self._wake(waiting)
            self._loop.call_later(MOMENT, self._watch, self._submitted)
        else:
            # Nothing waits, or all threads are at work and take what waits as they become free.
            self._is_watched = False

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._asleep))):
            self._asleep.pop().release()

    def _take_posts(self) -> None:
        self._is_waking = False
        posts = self._posts
        # What is posted from here on wakes the loop again: so a busy thread cannot hold the loop in here.
        for _ in range(len(posts)):
            call, args = posts.popleft()
            call(*args)

    # In a thread.

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Have the loop call this."""
        self._posts.append((call, args))
        if not self._is_waking:
            self._is_waking = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker is exiting
                self._loop.call_soon_threadsafe(self._take_posts)

    def _work(self) -> None:
        alarm = threading.Lock()
        alarm.acquire()
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                self._sleep(alarm)
                continue
            if job is None:
                return
            job()

    def _sleep(self, alarm: threading.Lock) -> None:
        self._asleep.append(alarm)
        # A job that came between the look at the queue and the line above has woken nobody.
        if self._jobs:
            try:
                self._asleep.remove(alarm)
            except ValueError:
                pass  # woken meanwhile: the alarm is on its way, and has to be taken
            else:
                return
        alarm.acquire()
