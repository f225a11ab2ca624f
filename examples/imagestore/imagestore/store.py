"""The store: files under the storage paths, and the catalogue. Blocking; both interfaces stand on it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from imagestore.catalog import Catalog, Image, NotFound
from imagestore.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
INCOMING = ".incoming"


class BadName(ValueError):
    """An id that cannot be a file's name."""


class Store:
    """Made once per process, after the fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        for path in settings.data:
            (path / INCOMING).mkdir(parents=True, exist_ok=True)
        settings.db.parent.mkdir(parents=True, exist_ok=True)
        self._catalog = Catalog(settings.db)

    def close(self) -> None:
        self._catalog.close()

    def check(self) -> None:
        """That the store can work.

        Raises:
            OSError: the first storage path cannot be written.
            sqlite3.Error: the catalogue does not answer.
        """
        self._catalog.listing(limit=1)
        if not os.access(self.settings.data[0] / INCOMING, os.W_OK):
            raise PermissionError(f"cannot write {self.settings.data[0]}")

    def receive(self, image: str) -> Incoming:
        """Begin an upload.

        Raises:
            BadName, Conflict
        """
        if not NAME.fullmatch(image):
            raise BadName(f"{image!r} cannot name an image; use up to 64 letters, digits, dots, dashes")
        return Incoming(
            image, self._catalog.claim(image), folder=self.settings.data[0], catalog=self._catalog
        )

    def open(self, image: str) -> tuple[Image, BinaryIO]:
        """An active image and its content, from whichever storage path has it.

        Raises:
            NotFound
        """
        found = self._catalog.get(image)
        for path in self.settings.data:
            try:
                return found, (path / image).open("rb")
            except FileNotFoundError:
                continue
        raise NotFound(f"the content of image {image} is on none of the storage paths")

    def images(self, *, after: str = "", limit: int = 100) -> list[Image]:
        """The listing, at most `limit` from after the id `after`."""
        return self._catalog.listing(after=after, limit=limit)

    def delete(self, image: str) -> None:
        """Remove the image. Downloads that have it open read it to the end.

        Raises:
            NotFound
        """
        self._catalog.delete(image, withdraw=lambda: self._unlink(image))

    def _unlink(self, image: str) -> None:
        for path in self.settings.data:
            (path / image).unlink(missing_ok=True)


class Incoming:
    """An upload under way: a file that nobody sees until :meth:`commit` renames it. Leaving the context
    without a commit undoes it."""

    def __init__(self, image: str, claim: str, *, folder: Path, catalog: Catalog) -> None:
        self._image = image
        self._claim = claim
        self._catalog = catalog
        self._final = folder / image
        self._part = folder / INCOMING / claim
        self._file = self._part.open("xb")
        self._digest = hashlib.sha256()
        self._size = 0
        self._committed = False

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        self._file.write(data)

    def commit(self) -> Image:
        """Make it visible: content on the disk, then name and catalogue at once.

        Raises:
            Conflict: it was deleted or taken over meanwhile.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        image = self._catalog.activate(
            self._image,
            self._claim,
            size=self._size,
            sha256=self._digest.hexdigest(),
            publish=lambda: self._part.replace(self._final),
        )
        self._committed = True
        return image

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._committed:
            self._part.unlink(missing_ok=True)
            self._catalog.release(self._claim)
