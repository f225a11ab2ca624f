"""Watching configuration files: content that has changed and is complete, however it was written.

Directories are watched, not files: a watch on a file is lost with its first replacement (rename over it,
the `..data` link of a ConfigMap). Events only say when to look; what counts is the SHA-256 of the content,
which is also looked at every `interval_s`, because events get lost (network file systems, queue overflow,
limits on watches).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.change import Clock
from hitless.config.content import content_hash
from hitless.config.settling import Settling

log = logging.getLogger(__name__)

DEBOUNCE_MS: Final = 100


@dataclass(frozen=True, slots=True)
class Changed:
    """Content that is new and was stable for the settle time."""

    hash: str
    """To be given back to `applied` or `failed`."""


class Watcher:
    """Yields a `Changed` when the files' content is not what serves and has settled.

        async for change in Watcher([path], interval_s=20, settle_s=1):
            ...reload...
            watcher.applied(change.hash)    # or watcher.failed(change.hash)

    A file that is missing or cannot be read for a while is waited for. `applied` is the `content_hash` of
    what was loaded; without it, what is there when the watcher is made counts as applied.
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        interval_s: float,
        settle_s: float,
        applied: str | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.paths: Final = tuple(Path(path) for path in paths)
        self._interval_s: Final = interval_s
        self._clock: Final = clock
        self._settling: Final = Settling(settle_s, self.look() if applied is None else applied)
        self._woken: Final = asyncio.Event()

    @property
    def failing(self) -> str | None:
        """Hash of the content that was tried, failed, and is still there; None if all is well."""
        return self._settling.failed

    def applied(self, content: str) -> None:
        """This content serves now."""
        self._settling.applied(content)

    def failed(self, content: str) -> None:
        """This content was tried and failed. It is tried again only when other content was seen in between."""
        self._settling.failed_with(content)

    def look(self) -> str | None:
        """The hash of the content now, or None if a file cannot be read."""
        try:
            return content_hash(path.read_bytes() for path in self.paths)
        except OSError:
            return None

    async def __aiter__(self) -> AsyncIterator[Changed]:
        notifier = asyncio.create_task(self._notify())
        try:
            while True:
                self._woken.clear()
                content = self.look()
                if content is not None and self._settling.see(content, self._clock()):
                    yield Changed(content)
                    continue
                due = self._settling.due_s(self._clock())
                with suppress(TimeoutError):
                    async with asyncio.timeout(
                        self._interval_s if due is None else min(due, self._interval_s)
                    ):
                        await self._woken.wait()
        finally:
            notifier.cancel()
            with suppress(asyncio.CancelledError):
                await notifier

    async def _notify(self) -> None:
        from watchfiles import awatch

        directories = {path.absolute().parent for path in self.paths} | {
            path.resolve().parent for path in self.paths
        }
        try:
            async for _ in awatch(*directories, watch_filter=None, debounce=DEBOUNCE_MS, recursive=False):
                self._woken.set()
        except OSError as error:
            log.warning(
                "file system events are not to be had (%s); looking every %g s", error, self._interval_s
            )
