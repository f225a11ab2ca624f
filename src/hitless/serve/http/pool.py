"""Threads for WSGI applications, and their way back to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class ThreadPool:
    """Runs jobs in threads; the threads post calls to the loop, many of them in one wake-up.

    Waking a loop costs a system call and a switch of threads, so only the first of several completions does
    it. The flag that says "a wake-up is on its way" is cleared *before* the posts are taken: a thread that
    posts while they are being taken sees either the flag cleared (and wakes the loop again) or its post
    taken now. Cleared afterwards, a post could lie until the next.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, threads: int) -> None:
        self._loop = loop
        self._size = threads
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._posts: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._is_waking = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads; daemons, so that one stuck in an application cannot keep the process from
        exiting.
        """
        for number in range(self._size):
            thread = threading.Thread(target=self._work, name=f"wsgi-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let the threads end after the jobs that are queued."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job` in a thread; it must contain its own errors."""
        self._jobs.put(job)

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """From a thread: have the loop call this."""
        self._posts.append((call, args))
        if not self._is_waking:
            self._is_waking = True
            try:
                self._loop.call_soon_threadsafe(self._take_posts)
            except RuntimeError:
                return  # the loop is closed: the worker is exiting

    def _take_posts(self) -> None:
        self._is_waking = False
        posts = self._posts
        # What is posted from here on wakes the loop again: so a busy thread cannot hold the loop in here.
        for _ in range(len(posts)):
            call, args = posts.popleft()
            call(*args)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
