"""An event loop in a thread, for programs that have none."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final


class Background:
    """Runs from `start` to `stop`; as a context manager, to the end of the block."""

    def __init__(
        self,
        start: Callable[[], Coroutine[Any, Any, object]],
        stop: Callable[[], Coroutine[Any, Any, None]],
        ended: Callable[[], None],
    ) -> None:
        self._start: Final = start
        self._ended: Final = ended
        self._stop: Final = stop
        self._started: Final[Future[asyncio.AbstractEventLoop]] = Future()
        self._stopping = asyncio.Event()
        self._thread: Final = threading.Thread(
            # With the context of who starts it: the host is in it.
            target=contextvars.copy_context().run,
            args=(self._main,),
            name="hitless-live",
            daemon=True,
        )
        self._thread.start()
        self._loop: Final = self._started.result()

    def stop(self, timeout_s: float | None = None) -> None:
        """Stop the runtime and wait for the thread; the runtime's own deadlines bound it if `timeout_s` does not."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(timeout_s)
            self._ended()

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        try:
            await self._start()
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits for the start
            self._started.set_exception(error)
            return
        self._started.set_result(asyncio.get_running_loop())
        await self._stopping.wait()
        await self._stop()
