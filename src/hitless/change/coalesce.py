"""Requests that carry nothing but "do it (again)": signals, file events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)


class Coalescer:
    """Runs `action` for every request, never twice at once; a storm of requests during a run makes one more run.

    Each request is followed by at least one run that starts after it, so none is lost: the last state asked
    for is always looked at. An action that raises is logged and ends only its own run.
    """

    def __init__(self, action: Callable[[], Awaitable[object]]) -> None:
        self._action: Final = action
        self._runner: asyncio.Task[None] | None = None
        self._is_wanted = False

    def request(self) -> None:
        """Ask for a run. Cheap and never blocks: made for `loop.add_signal_handler`."""
        self._is_wanted = True
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_running(self) -> bool:
        return self._runner is not None

    async def idle(self) -> None:
        """Wait until no run is going on or wanted. Bound it with a deadline."""
        while self._runner is not None:
            await asyncio.wait({self._runner})

    async def close(self) -> None:
        """Cancel the run that is going on and forget the one that is wanted."""
        self._is_wanted = False
        if self._runner is not None:
            self._runner.cancel()
            await self.idle()

    async def _run(self) -> None:
        try:
            while self._is_wanted:
                self._is_wanted = False
                await self._attempt()
        finally:
            self._runner = None

    async def _attempt(self) -> None:
        try:
            await self._action()
        except Exception:
            log.exception("what was requested failed")
