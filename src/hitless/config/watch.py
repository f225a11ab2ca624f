"""Watching configuration files: content that has changed and is complete, however it was written.

What counts is the SHA-256 of the content. Events of the file system say when to look; besides, it is looked
at every `interval_s`, because events get lost (network file systems, queue overflows, limits on watches).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.change import Clock
from hitless.change.threads import in_thread
from hitless.config.content import content_hash
from hitless.config.file import read_content
from hitless.config.notify import DirectoryEvents
from hitless.config.problems import ConfigError
from hitless.config.settling import Settling


@dataclass(frozen=True, slots=True)
class Changed:
    """Content that is new and has settled."""

    hash: str
    """To be given back to `applied` or `failed`."""
    version: str = ""
    """The source's own name for it, as the revision of etcd."""


class Watcher:
    """Yields a `Changed` when what the files hold is not what serves, and has been the same for `settle_s`.

        async for change in Watcher([path], interval_s=20, settle_s=1):
            ...reload...
            watcher.applied(change.hash)    # or watcher.failed(change.hash)

    A file that is missing or cannot be read is waited for. `applied` is the `content_hash` of what was
    loaded; without it, what is there when the watcher is made counts as applied.
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
        """This content was tried and failed; it is tried again when other content was seen in between."""
        self._settling.failed_with(content)

    def look(self) -> str | None:
        """The hash of the content now, or None if a file cannot be read."""
        try:
            return content_hash(read_content(path) for path in self.paths)
        except ConfigError:
            return None

    def _look_beside(self) -> str | None:
        # Where the process is replaced by another program, a signal that came to this thread would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        return self.look()

    async def __aiter__(self) -> AsyncIterator[Changed]:
        events = DirectoryEvents(self.paths, self._woken.set)
        try:
            while True:
                # In this order, so that what happens during the look wakes the next one.
                self._woken.clear()
                await events.arm()
                # Not an executor's thread, which would be waited for at the end: a network file system may hang.
                content = await in_thread(self._look_beside, "look at files")
                if content is not None and self._settling.see(content, self._clock()):
                    yield Changed(content)
                else:
                    await self._rest()
        finally:
            await events.close()

    async def _rest(self) -> None:
        """Until an event, the interval's end, or the moment at which what was seen has settled."""
        due = self._settling.due_s(self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s if due is None else min(due, self._interval_s)):
                await self._woken.wait()
