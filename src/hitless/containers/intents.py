"""What is under way, on disk, so that the next Hitless can finish or undo what a killed one began.

One small file per container, written before anything moves and removed when nothing is left to be put right. It is a
hint: what is so is always asked of the engine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hitless.containers.errors import ContainersError

SUFFIX: Final = ".json"


class Intents:
    """Those of one engine, in `directory` (made when the first is written, 0700: environments hold secrets)."""

    def __init__(self, directory: Path, engine: str) -> None:
        self.directory: Final = directory
        self._engine: Final = engine

    def key(self, name: str) -> str:
        """A short name for this container of this engine, fit for files and sockets."""
        return hashlib.sha256(f"{self._engine}\0{name}".encode()).hexdigest()[:20]

    def put(self, name: str, data: Mapping[str, Any]) -> None:
        """Write it, on the disk when this returns.

        Raises:
            ContainersError: it cannot be written; nothing may be done then.
        """
        path = self._path(name)
        draft = path.with_suffix(".new")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"engine": self._engine, "name": name, **data}, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            self._sync()
        except OSError as error:
            raise ContainersError(
                f"{path} cannot be written ({error.strerror}), so what is begun could not be finished after a crash;"
                " nothing was done. Make it writable, or name another directory with --state-dir"
            ) from error

    def get(self, name: str) -> Mapping[str, Any] | None:
        """What is under way for this container, or None. A file that is damaged says nothing."""
        return _read(self._path(name))

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every one of this engine, by name."""
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            data = _read(path)
            if data is not None and data.get("engine") == self._engine:
                yield str(data["name"]), data

    def _path(self, name: str) -> Path:
        return self.directory / f"{self.key(name)}{SUFFIX}"

    def _sync(self) -> None:
        """So that the new name survives a loss of power as well."""
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and "name" in data else None
