"""Threads for code that may block, kept for the next call.

A thread that is started holds up the event loop until it runs, which takes as long as some other thread keeps the interpreter:
hundreds of them in a tick would make the next one late. They are daemons: one that hangs is left behind, and keeps no program
from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

T = TypeVar("T")

IDLE_S: Final = 10.0
"""How long one waits for more before it ends."""

Work: TypeAlias = tuple[
    contextvars.Context, Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]", str
]


class Workers:
    """As many threads as calls that go on at the same time."""

    def __init__(self) -> None:
        self._queue: Final[queue.SimpleQueue[Work]] = queue.SimpleQueue()
        self._lock: Final = threading.Lock()
        self._free = 0
        """Threads that wait, less the calls that they have not begun yet."""

    async def run(self, work: Callable[[], T], name: str) -> T:
        """The result of `work`, run in a thread with this task's context variables. It cannot be broken off."""
        return await self.start(work, name)

    def start(self, work: Callable[[], T], name: str) -> asyncio.Future[T]:
        """As `run`: it has begun when this returns."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._free -= 1
            is_short = self._free < 0
        self._queue.put((contextvars.copy_context(), work, loop, future, name))
        if is_short:
            with self._lock:
                self._free += 1
            threading.Thread(target=self._serve, name="hitless-agent-worker", daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            try:
                context, work, loop, future, name = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._free <= 0:
                        continue  # a call has just been promised this thread
                    self._free -= 1
                return
            result: Any = None
            error: BaseException | None = None
            try:
                result = context.run(work)
            except StopIteration:
                error = RuntimeError(f"{name} raised StopIteration")
            except (SystemExit, KeyboardInterrupt) as raised:
                error = RuntimeError(f"{name} wanted to end the process: {type(raised).__name__}")
            except BaseException as raised:  # noqa: BLE001 - whatever it raises belongs to who waits for it
                error = raised
            with self._lock:
                self._free += 1
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(_deliver, future, result, error)
            del context, work, future, result, error  # nothing is kept alive while it waits


def _deliver(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
