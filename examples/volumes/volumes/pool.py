"""A backend whose volumes are extents of one file, after LVM's thin pools: an extent is allocated when it is first written.

    PATH         the extents; sparse
    PATH.map     which extent belongs to which volume, as JSON; replaced whole by a rename
    PATH.lock    held while the map is changed

The map on the disk is the truth, as LVM's metadata are: it is read and changed under the lock. So two drivers may have one pool
open at a time, the old and the new of a change, each with volumes in use.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from volumes.directory import Blocks
from volumes.driver import Driver, NoSuchVolume, Volume, VolumeError, VolumeExists, checked


@dataclass
class Allocation:
    """One volume."""

    size: int
    extents: dict[str, int] = field(default_factory=dict)
    """Where each extent of the volume is in the pool. JSON's keys are text."""


@dataclass
class Map:
    """All volumes of a pool."""

    extent: int
    """Bytes."""
    volumes: dict[str, Allocation] = field(default_factory=dict)

    def used(self) -> set[int]:
        return {at for volume in self.volumes.values() for at in volume.extents.values()}

    def of(self, volume: str) -> Allocation:
        """Raises NoSuchVolume."""
        if volume not in self.volumes:
            raise NoSuchVolume(f"there is no volume {volume} in the pool")
        return self.volumes[volume]

    def allocate(self, volume: str, wanted: list[int], capacity: int) -> list[int]:
        """Give the volume these extents, where it has none; where those are that are new.

        Raises:
            OSError: the pool is full.
        """
        extents = self.of(volume).extents
        missing = [index for index in wanted if str(index) not in extents]
        used = self.used()
        free = (at for at in range(capacity) if at not in used)
        new = [at for _, at in zip(missing, free, strict=False)]
        if len(new) < len(missing):
            raise OSError(f"the pool is full: all of its {capacity} extents are in use")
        extents |= {str(index): at for index, at in zip(missing, new, strict=True)}
        return new


class Pool(Driver):
    def __init__(self, path: Path, *, size: int, extent: int) -> None:
        self._path = path
        self.extent = extent
        self.capacity = size // extent
        """Extents."""

    async def check(self) -> None:
        await asyncio.to_thread(self._check)

    async def create(self, volume: str, size: int) -> None:
        def create() -> None:
            with self.changing() as map_:
                if checked(volume) in map_.volumes:
                    raise VolumeExists(f"volume {volume} exists in the pool already")
                map_.volumes[volume] = Allocation(size)

        await asyncio.to_thread(create)

    async def delete(self, volume: str) -> None:
        def delete() -> None:
            with self.changing() as map_:
                map_.of(volume)
                del map_.volumes[volume]

        await asyncio.to_thread(delete)

    @asynccontextmanager
    async def open(self, volume: str) -> AsyncIterator[Volume]:
        allocation = (await asyncio.to_thread(self.read)).of(volume)
        blocks = Blocks(os.open(self._path, os.O_RDWR | os.O_CLOEXEC))
        try:
            yield PoolVolume(self, volume, allocation, blocks)
        finally:
            blocks.close()

    async def close(self) -> None:
        """There is nothing that it keeps open."""

    def read(self) -> Map:
        """The map as it is."""
        try:
            data = json.loads(self._beside(".map").read_text())
        except FileNotFoundError:
            return Map(self.extent)
        return Map(data["extent"], {name: Allocation(**each) for name, each in data["volumes"].items()})

    @contextmanager
    def changing(self) -> Iterator[Map]:
        """The map, to be changed; it is written unless that raises."""
        with self._beside(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            map_ = self.read()
            yield map_
            self._write(map_)

    def _write(self, map_: Map) -> None:
        new = self._beside(".map.new")
        with new.open("w") as file:
            json.dump(asdict(map_), file)
            file.flush()
            os.fdatasync(file.fileno())
        new.replace(self._beside(".map"))

    def _check(self) -> None:
        if not self._path.parent.is_dir():
            raise NotADirectoryError(f"{self._path.parent} is no directory; make it, or correct path")
        with self.changing() as map_:
            if map_.extent != self.extent:
                raise VolumeError(
                    f"the pool has extents of {map_.extent} bytes, not {self.extent}; correct extent"
                )
            last = max(map_.used(), default=-1)
            if last >= self.capacity:
                needed = (last + 1) * self.extent
                raise VolumeError(f"the pool uses its first {needed} bytes; size cannot be below that")
            self._path.touch()
            if self._path.stat().st_size < self.capacity * self.extent:
                os.truncate(self._path, self.capacity * self.extent)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)


class PoolVolume(Volume):
    def __init__(self, pool: Pool, name: str, allocation: Allocation, blocks: Blocks) -> None:
        self._pool = pool
        self._name = name
        self._allocation = allocation
        self._blocks = blocks
        self._extent = pool.extent
        self.size = allocation.size

    async def read(self, offset: int, length: int) -> bytes:
        self.check_range(offset, length)
        return b"".join([await self._piece(*piece) for piece in self._pieces(offset, length)])

    async def write(self, offset: int, data: bytes) -> None:
        self.check_range(offset, len(data))
        pieces = list(self._pieces(offset, len(data)))
        extents = self._allocation.extents
        if any(str(index) not in extents for index, _, _ in pieces):
            await self._allocate([index for index, _, _ in pieces])
        done = 0
        for index, begin, length in pieces:
            at = self._allocation.extents[str(index)] * self._extent + begin
            await self._blocks.write(at, data[done : done + length])
            done += length

    async def flush(self) -> None:
        await self._blocks.flush()

    async def _piece(self, index: int, begin: int, length: int) -> bytes:
        at = self._allocation.extents.get(str(index))
        return bytes(length) if at is None else await self._blocks.read(at * self._extent + begin, length)

    async def _allocate(self, wanted: list[int]) -> None:
        def allocate() -> tuple[Allocation, list[int]]:
            with self._pool.changing() as map_:
                new = map_.allocate(self._name, wanted, self._pool.capacity)
                return map_.of(self._name), new

        self._allocation, new = await asyncio.to_thread(allocate)
        for at in new:  # what another volume has left there must not be read
            await self._blocks.write(at * self._extent, bytes(self._extent))

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Extent, begin in it, and length of each piece of a range."""
        end = offset + length
        while offset < end:
            index, begin = divmod(offset, self._extent)
            piece = min(self._extent - begin, end - offset)
            yield index, begin, piece
            offset += piece
