"""A backend whose volumes are files in a directory."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

from volumes.driver import Driver, NoSuchVolume, Volume, VolumeExists, checked

T = TypeVar("T")


class Directory(Driver):
    def __init__(self, path: Path) -> None:
        self._path = path

    async def check(self) -> None:
        await asyncio.to_thread(self._check)

    async def create(self, volume: str, size: int) -> None:
        await asyncio.to_thread(self._create, self._file(volume), size)

    async def delete(self, volume: str) -> None:
        try:
            await asyncio.to_thread(self._file(volume).unlink)
        except FileNotFoundError:
            raise NoSuchVolume(f"there is no volume {volume} in {self._path}") from None

    @asynccontextmanager
    async def open(self, volume: str) -> AsyncIterator[Volume]:
        try:
            descriptor = os.open(self._file(volume), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoSuchVolume(f"there is no volume {volume} in {self._path}") from None
        blocks = Blocks(descriptor)
        try:
            yield FileVolume(blocks)
        finally:
            blocks.close()

    async def close(self) -> None:
        """There is nothing that it keeps open."""

    def _file(self, volume: str) -> Path:
        return self._path / checked(volume)

    def _check(self) -> None:
        if not self._path.is_dir():
            raise NotADirectoryError(f"{self._path} is no directory; make it, or correct path")
        TemporaryFile(dir=self._path).close()  # it can be written

    def _create(self, file: Path, size: int) -> None:
        try:
            with file.open("xb") as made:
                made.truncate(size)
        except FileExistsError:
            raise VolumeExists(f"volume {file.name} exists in {self._path} already") from None


class Blocks:
    """A file that is read and written at offsets, in threads.

    A thread cannot be cancelled: until it is done, the lock keeps the descriptor, whose number may be another file's later.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._is_closed = False
        self.size = os.fstat(descriptor).st_size

    async def read(self, offset: int, length: int) -> bytes:
        data = await self._do(lambda: os.pread(self._descriptor, length, offset))
        if len(data) != length:
            raise OSError(f"only {len(data)} of {length} bytes could be read at {offset}")
        return data

    async def write(self, offset: int, data: bytes) -> None:
        def whole() -> None:
            rest, at = memoryview(data), offset
            while rest:
                written = os.pwrite(self._descriptor, rest, at)
                rest, at = rest[written:], at + written

        await self._do(whole)

    async def flush(self) -> None:
        await self._do(lambda: os.fdatasync(self._descriptor))

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            os.close(self._descriptor)

    async def _do(self, work: Callable[[], T]) -> T:
        def alone() -> T:
            with self._lock:
                if self._is_closed:
                    raise OSError("the volume was closed meanwhile")
                return work()

        return await asyncio.to_thread(alone)


class FileVolume(Volume):
    """A volume that is one file."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self.size = blocks.size

    async def read(self, offset: int, length: int) -> bytes:
        self.check_range(offset, length)
        return await self._blocks.read(offset, length)

    async def write(self, offset: int, data: bytes) -> None:
        self.check_range(offset, len(data))
        await self._blocks.write(offset, data)

    async def flush(self) -> None:
        await self._blocks.flush()
