"""Follows the configuration file where `reload.watch` says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from hitless.config import Watcher
from hitless.serve.settings import Reload


class ConfigWatch:
    """Calls `on_change(content hash)` for each new, stable content of `file`; it says whether the reload was good.

    What was refused is tried again when the file changes; going back to what serves clears the failed state.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        file: Path | None,
        *,
        on_change: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._loop: Final = loop
        self._file: Final = file
        self._on_change: Final = on_change
        self._watcher: Watcher | None = None
        self._task: asyncio.Task[None] | None = None
        self._settings: tuple[float, float] | None = None
        self.content: str | None = None
        """Hash of the file's content that serves, if it is known."""

    def follow(self, settings: Reload, content: str | None) -> None:
        """Watches as `settings` say from now on; `content` is the hash of the file that they were read from."""
        self.content = content or self.content
        wanted = (settings.interval, settings.settle) if settings.watch else None
        if wanted == self._settings:
            return
        self.close()
        self._settings = wanted
        if wanted is not None and self._file is not None:
            self._watcher = Watcher([self._file], interval_s=wanted[0], settle_s=wanted[1], applied=content)
            self._task = self._loop.create_task(self._watch(self._watcher))

    def tried(self, content: str | None, *, is_good: bool) -> None:
        """What a command has tried need not be tried again because the file looks new to the watcher."""
        if self._watcher is None or content is None:
            return
        if is_good:
            self._watcher.applied(content)
        else:
            self._watcher.failed(content)

    def look(self) -> str | None:
        """Hash of the file's content now; None if it cannot be read."""
        return None if self._watcher is None else self._watcher.look()

    def status(self) -> dict[str, str | None] | None:
        """None if nothing is watched; `failing` is the hash of a content that was refused and is still there."""
        return None if self._watcher is None else {"failing": self._watcher.failing}

    def close(self) -> None:
        self._watcher, self._settings = None, None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _watch(self, watcher: Watcher) -> None:
        async for changed in watcher:
            if not await self._on_change(changed.hash):
                watcher.failed(changed.hash)
