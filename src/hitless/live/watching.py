"""Reloads when the files of the sources hold something new."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from hitless.change import ChangeInProgress, Outcome
from hitless.config import Loaded
from hitless.config.source_watch import SourceWatcher

if TYPE_CHECKING:
    from hitless.live.service import Service


class Watching:
    """One reload for each new, stable content. What was refused is tried again when it changes."""

    def __init__(
        self, service: Service[Any], interval_s: float, settle_s: float, *, applied: str | None
    ) -> None:
        self._service: Final = service
        self._watcher: Final = SourceWatcher(
            service.sources, interval_s=interval_s, settle_s=settle_s, applied=applied
        )
        self._task: Final = asyncio.create_task(self._run())

    @property
    def failing(self) -> str | None:
        """Hash of the content that was refused and is still there."""
        return self._watcher.failing

    def tell(self, loaded: Loaded[Any] | None, outcome: Outcome) -> None:
        """What a command has tried need not be tried again because it looks new to the watcher."""
        if loaded is None:
            return
        if outcome.is_good:
            self._watcher.applied(loaded.content_hash)
        else:
            self._watcher.failed(loaded.content_hash)

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        async for changed in self._watcher:
            await self._service.idle()
            if changed.hash != self._watcher.look():
                continue
            self._service.events.emit("watch.changed", content=changed.hash[:12])
            with suppress(ChangeInProgress):  # somebody else's change reads the same files
                outcome = await self._service.reload(None, requested_by="watch")
                if not outcome.is_good:
                    self._watcher.failed(changed.hash)
