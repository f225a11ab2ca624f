"""File system events as wake-up calls: only ever a reason to look, never an answer."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

log = logging.getLogger(__name__)

Place: TypeAlias = tuple[str, int, int]
"""A directory, and which one it is (device, inode): a new one of the same name needs a new watch."""

STEP_MS: Final = 100
"""Events that follow on each other within this time are one, up to DEBOUNCE_MS."""
DEBOUNCE_MS: Final = 200


class DirectoryEvents:
    """Calls `wake` when something happens in the directories of some files, and of what these link to.

    Directories, because a watch on a file is lost with its first replacement: by a rename over it, or by
    the swap of the `..data` link of a ConfigMap. Trouble (no watchfiles installed, no more inotify watches,
    a directory that is gone) is logged once and tried again with every `arm`.
    """

    def __init__(self, paths: Iterable[Path], wake: Callable[[], None]) -> None:
        self._paths: Final = tuple(paths)
        self._wake: Final = wake
        self._armed: frozenset[Place] = frozenset()
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    async def arm(self) -> None:
        """See to it that the directories as they are now are watched; what happens after this wakes."""
        places = self._places()
        if self._task is not None and not self._task.done() and places == self._armed:
            return
        await self.close()
        self._armed = places
        self._task = asyncio.create_task(self._watch(sorted(place[0] for place in places)))
        await asyncio.sleep(0)  # the task's first step takes out the watches

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})  # unlike awaiting it, this does not swallow our own cancellation

    def _places(self) -> frozenset[Place]:
        found = set()
        for path in self._paths:
            for directory in (path.absolute().parent, path.resolve().parent):
                with suppress(OSError):
                    stat = directory.stat()
                    found.add((os.fspath(directory), stat.st_dev, stat.st_ino))
        return frozenset(found)

    async def _watch(self, directories: list[str]) -> None:
        try:
            from watchfiles import awatch

            events = awatch(
                *directories, watch_filter=None, debounce=DEBOUNCE_MS, step=STEP_MS, recursive=False
            )
            async for _ in events:
                self._trouble = ""
                self._wake()
        except Exception as error:  # noqa: BLE001 - whatever the trouble is, the caller looks without events too
            self._report(f"{type(error).__name__}: {error}")

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning(
                "file system events are not to be had (%s); the files are looked at by interval", trouble
            )
