"""A page of shared memory in which every worker keeps its own figures.

Each worker writes one row and reads the others': that is how it knows, without a message, whether it has more connections
than its share. The supervisor reads all rows, also those of a worker that is too busy to answer. A row has one writer, so there
are no locks; an aligned 64-bit store is seen whole.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

ROWS: Final = 2048
"""Workers of all generations at one time."""

FIELDS: Final = ("generation", "accepting", "connections", "in_flight", "requests", "beat_ms")
GENERATION, ACCEPTING, CONNECTIONS, IN_FLIGHT, REQUESTS, BEAT_MS = range(len(FIELDS))
_WIDTH: Final = 8
"""Eight 64-bit cells, one cache line: two workers never write to the same line."""


class Scoreboard:
    """The page, mapped into this process. `fd` is to be passed to others."""

    def __init__(self, fd: int) -> None:
        self.fd: Final = fd
        self._map: Final = mmap.mmap(fd, ROWS * _WIDTH * 8)
        self._cells: Final = memoryview(self._map).cast("q")

    @classmethod
    def create(cls) -> Scoreboard:
        fd = os.memfd_create("hitless-scoreboard", os.MFD_CLOEXEC)
        os.ftruncate(fd, ROWS * _WIDTH * 8)
        return cls(fd)

    def row(self, index: int) -> memoryview:
        """The cells of one worker: read or written as `row[CONNECTIONS]`."""
        return self._cells[index * _WIDTH : (index + 1) * _WIDTH]

    def clear(self, index: int) -> None:
        row = self.row(index)
        for cell in range(_WIDTH):
            row[cell] = 0

    def read(self, index: int) -> dict[str, int]:
        row = self.row(index)
        return {name: row[cell] for cell, name in enumerate(FIELDS)}

    def fewest_connections(self, rows: list[int], *, besides: int) -> int | None:
        """Connections of the least loaded of `rows` that accepts, not counting row `besides`; None if it is alone."""
        cells = self._cells
        counts = [
            cells[row * _WIDTH + CONNECTIONS]
            for row in rows
            if row != besides and cells[row * _WIDTH + ACCEPTING]
        ]
        return min(counts) if counts else None
