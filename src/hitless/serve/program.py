"""In the place of the HTTP server: a program that runs for long, in a worker (`hitless run`).

It is ready when its runtime has started or when it says so (`hitless.live.ready`). When the worker drains, the program is asked
to end, and has the drain's deadline for it:

    it has taken its `lifetime()`        that is over
    a coroutine function without         its task is cancelled, as asyncio.run does on Ctrl-C
    a function without                   nobody can tell it: it is left at the deadline

A program that ends unasked takes its worker with it, and another one is started as after every crash.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import runpy
import threading
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

from hitless.serve.http.errors import StartupFailed
from hitless.serve.http.facts import Counters

Log = Callable[..., None]


class ModuleProgram:
    """`python -m MODULE` as a function."""

    def __init__(self, module: str) -> None:
        self._module: Final = module

    def __call__(self) -> None:
        runpy.run_module(self._module, run_name="__main__", alter_sys=True)


class ProgramEngine:
    """What a worker needs of its engine, for a program that takes no connections."""

    def __init__(
        self,
        program: Callable[[], Any],
        *,
        loop: asyncio.AbstractEventLoop,
        on_empty: Callable[[], None],
        log: Log,
    ) -> None:
        self._program: Final = program
        self._loop: Final = loop
        self._on_empty: Final = on_empty
        self._log: Final = log
        self._began: Final = time.monotonic()
        self._up: Final[asyncio.Future[None]] = loop.create_future()
        self._ended: Final[asyncio.Future[BaseException | None]] = loop.create_future()
        self._task: asyncio.Task[Any] | None = None
        self._is_draining = False
        self.ask: Callable[[], bool] = lambda: False
        """Asks the program to end, if it listens; returns whether it does."""
        self.counters: Final = Counters()
        self.connections: Final[Collection[Any]] = ()

    @property
    def in_flight(self) -> int:
        return 0 if self._ended.done() else 1

    def is_up(self) -> None:
        if not self._up.done():
            self._up.set_result(None)

    async def startup(self) -> None:
        """Raises StartupFailed: it has ended before it was ready."""
        if inspect.iscoroutinefunction(self._program):
            self._task = self._loop.create_task(self._program())
            self._task.add_done_callback(self._task_ended)
        else:
            run = contextvars.copy_context().run
            threading.Thread(target=run, args=(self._in_thread,), name="program", daemon=True).start()
        both: set[asyncio.Future[Any]] = {self._up, self._ended}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            error = self._ended.result()
            what = "it returned" if error is None else f"{type(error).__name__}: {error}"
            detail = "" if error is None else "".join(traceback.format_exception(error))
            raise StartupFailed(f"the program ended before it was ready: {what}", detail)
        self._ended.add_done_callback(self._left)

    async def shutdown(self) -> None:
        """It has ended, or was given up."""

    def drain(self, give: object = None) -> None:  # noqa: ARG002 - there is nothing to hand over
        if self._is_draining:
            return
        self._is_draining = True
        if not self.ask() and self._task is not None:
            self._task.cancel()
        self._loop.call_soon(self._look_if_empty)

    def cut(self) -> list[str]:
        """The drain's deadline: what still runs is left."""
        if self._ended.done():
            return []
        if self._task is not None:
            self._task.cancel()
        return [f"the program has not ended, age {time.monotonic() - self._began:.1f}s"]

    def describe(self, limit: int = 100) -> list[dict[str, Any]]:  # noqa: ARG002
        """There are no connections."""
        return []

    def accept(self, sock: Any, listener: Any) -> None:  # noqa: ARG002
        """Never: it has no listener."""
        sock.close()

    def adopt(self, sock: Any, listener: Any, facts: Any) -> None:  # noqa: ARG002
        sock.close()

    def _in_thread(self) -> None:
        error: BaseException | None = None
        try:
            self._program()
        except SystemExit as left:
            error = None if left.code in (None, 0) else left
        except BaseException as raised:  # noqa: BLE001 - whatever ends a program is told
            error = raised
        with suppress(RuntimeError):  # the loop is closed: the worker has left already
            self._loop.call_soon_threadsafe(self._end, error)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._end(None if task.cancelled() else task.exception())

    def _end(self, error: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result(error)

    def _left(self, ended: asyncio.Future[BaseException | None]) -> None:
        error = ended.result()
        if error is not None:
            self._log("error", "the program has failed", exc_info=error)
        if self._is_draining:
            self._look_if_empty()
            return
        self._log("error", "the program has ended, and nobody had asked it to")
        os._exit(1)

    def _look_if_empty(self) -> None:
        if self._ended.done():
            self._on_empty()
