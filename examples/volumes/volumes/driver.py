"""What a backend offers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class VolumeError(Exception):
    """What was asked for cannot be done; the message says why."""


class NoSuchVolume(VolumeError):
    pass


class VolumeExists(VolumeError):
    pass


class Volume(ABC):
    """An open volume: `size` bytes that can be read and written at any offset. What was never written is zeros."""

    size: int

    @abstractmethod
    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""

    @abstractmethod
    async def write(self, offset: int, data: bytes) -> None: ...

    @abstractmethod
    async def flush(self) -> None:
        """Return when what was written would outlive a crash."""

    def check_range(self, offset: int, length: int) -> None:
        """That these bytes are in the volume.

        Raises:
            VolumeError: they are not.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise VolumeError(f"{length} bytes at {offset} are not in a volume of {self.size} bytes")


class Driver(ABC):
    """One backend. All of it raises OSError for what the storage cannot do, and VolumeError for what it will not."""

    @abstractmethod
    async def check(self) -> None:
        """Raises if the backend cannot work."""

    @abstractmethod
    async def create(self, volume: str, size: int) -> None:
        """Raises VolumeExists."""

    @abstractmethod
    async def delete(self, volume: str) -> None:
        """Raises NoSuchVolume."""

    @abstractmethod
    def open(self, volume: str) -> AbstractAsyncContextManager[Volume]:
        """Raises NoSuchVolume."""

    @abstractmethod
    async def close(self) -> None:
        """Nobody uses it any more."""


def checked(volume: str) -> str:
    """The name, if it can be that of a file.

    Raises:
        VolumeError: it cannot.
    """
    if not NAME.fullmatch(volume):
        raise VolumeError(f"{volume!r} cannot name a volume; use up to 64 letters, digits, dots, dashes")
    return volume
