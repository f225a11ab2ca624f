"""The content of images: files in a folder that all nodes see."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

INCOMING = "incoming"


class Content:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / INCOMING).mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        """Raises OSError if nothing can be written."""
        if not os.access(self._folder / INCOMING, os.W_OK):
            raise PermissionError(f"{self._folder} cannot be written")

    def open(self, image: str) -> BinaryIO:
        """Raises FileNotFoundError."""
        return (self._folder / image).open("rb")

    def receive(self, image: str, claim: str) -> Incoming:
        return Incoming(self._folder / INCOMING / claim, self._folder / image)

    def remove(self, image: str) -> None:
        (self._folder / image).unlink(missing_ok=True)


class Incoming:
    """A file that nobody sees before it is whole."""

    def __init__(self, part: Path, final: Path) -> None:
        self._part, self._final = part, final
        self._file = part.open("xb")
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self.size += len(data)
        self._file.write(data)

    def publish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._final)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)
