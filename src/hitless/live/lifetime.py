"""When a program is to end, as it hears of it: an event for tasks and threads alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final


class Lifetime:
    """Over when the program is asked to end. What it does then it may finish, within the drain deadline of its service."""

    def __init__(self) -> None:
        self._over: Final = threading.Event()
        self._lock: Final = threading.Lock()
        self._wakers: Final[set[Callable[[], None]]] = set()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait in a thread until it is over, or `timeout_s` have passed; whether it is over."""
        return self._over.wait(timeout_s)

    async def ended(self) -> None:
        """Wait in a task until it is over."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(woken.set)

        with self._lock:
            self._wakers.add(wake)
        try:
            if not self.is_over:
                await woken.wait()
        finally:
            with self._lock:
                self._wakers.discard(wake)

    def end(self) -> None:
        """Called by whoever runs the program."""
        with self._lock:
            self._over.set()
            wakers = list(self._wakers)
        for wake in wakers:
            wake()
