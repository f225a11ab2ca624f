"""Whether the code that a process runs is still what its files hold. New code needs a new generation of processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Stamp = tuple[int, int, int]


class Code:
    """The files from which modules were imported. A file that cannot be told counts as changed: that costs new processes,
    and the other way round a deployment would be missed.
    """

    def __init__(self) -> None:
        self._began_ns: Final = time.time_ns()
        self._stamps: Final[dict[str, Stamp | None]] = {}

    def note(self, *more: str) -> None:
        """What is imported now is what `changed` compares with, and `more` files."""
        for path in (*_files(), *more):
            found = _stat(path)
            # Written while it was imported: nobody knows which of the two was read.
            is_sure = found is not None and found.st_mtime_ns < self._began_ns
            self._stamps[path] = _stamp(found) if found is not None and is_sure else None

    def changed(self) -> list[str]:
        """Files that hold something else than what runs here. Looks at every file."""
        return [path for path in {*_files(), *self._stamps} if self._is_changed(path)]

    def _is_changed(self, path: str) -> bool:
        found = _stat(path)
        if found is None:
            return True
        if path in self._stamps:
            return _stamp(found) != self._stamps[path]
        # Imported later, nobody knows when: it is the same if it was there before everything else was imported.
        return max(found.st_mtime_ns, found.st_ctime_ns) >= self._began_ns


@dataclass(frozen=True, slots=True)
class Program:
    """What a worker runs: the application, and what is known of its code."""

    app: Any
    code: Code


def _files() -> Iterator[str]:
    return _distinct(getattr(module, "__file__", None) for module in list(sys.modules.values()))


def _distinct(paths: Iterable[object]) -> Iterator[str]:
    seen = set()
    for path in paths:
        if isinstance(path, str) and path not in seen:
            seen.add(path)
            yield path


def _stat(path: str) -> os.stat_result | None:
    """Of the file, or of the archive that it is in."""
    for place in (Path(path), *Path(path).parents):
        try:
            return place.stat()
        except NotADirectoryError:
            continue
        except OSError:
            return None
    return None


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino
