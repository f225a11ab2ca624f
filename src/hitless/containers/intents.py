"""What is under way, on disk, so that the next Hitless can finish or undo what a killed one began.

One small file per container, written before anything moves and removed when nothing is left to be put right. It is a
hint: what is so is always asked of the engine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hitless.containers.errors import StateUnwritable

SUFFIX: Final = ".json"


def _silent(message: str) -> None:
    """Nobody listens."""


class Intents:
    """Those of one engine, in `directory` (made when the first is written, 0700: environments hold secrets). `tell` gets what
    could not be cleared away."""

    def __init__(self, directory: Path, engine: str, *, tell: Callable[[str], None] = _silent) -> None:
        self.directory: Final = directory
        self._engine: Final = engine
        self._tell: Final = tell

    def key(self, name: str) -> str:
        """A short name for this container of this engine, fit for files and sockets."""
        return hashlib.sha256(f"{self._engine}\0{name}".encode()).hexdigest()[:20]

    def put(self, name: str, data: Mapping[str, Any]) -> None:
        """Write it, on the disk when this returns.

        Raises:
            StateUnwritable: it cannot be written; nothing may be done then.
        """
        path = self.path(name)
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
            raise StateUnwritable(
                f"{path} cannot be written ({error.strerror}), so what is begun could not be finished after a crash;"
                " nothing was done. Make it writable, or name another directory with --state-dir"
            ) from error

    def get(self, name: str) -> Mapping[str, Any] | None:
        """What is under way for this container, or None. A file that is damaged says nothing."""
        return _read(self.path(name))

    def is_anothers(self, name: str, id: str) -> bool:  # noqa: A002
        """Whether something is under way with another container that had this name, so that the note is not ours to change."""
        data = self.get(name)
        return data is not None and id not in (data["id"], data.get("new"))

    def check(self, name: str, id: str) -> None:  # noqa: A002
        """That there is room to write down what is to be done to this container.

        Raises:
            StateUnwritable: what a killed Hitless began with another one of this name is not put right yet.
        """
        if self.is_anothers(name, id):
            raise StateUnwritable(
                f"what was begun with another container named {name} is not put right yet, so nothing was done; mend what keeps"
                f" it from that, or remove {self.path(name)}"
            )

    def remove(self, name: str) -> None:
        """Nothing of it is left to be put right. That a directory cannot be written any more breaks nothing off: it is told."""
        path = self.path(name)
        try:
            if path.exists():  # a file system that is read-only refuses to remove even what is not there
                path.unlink(missing_ok=True)
        except OSError as error:
            self._tell(
                f"{path} cannot be removed ({error.strerror}), though what it says of {name} is over; remove it before the next run"
            )

    def all(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every one of this engine, by name."""
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            data = _read(path)
            if data is not None and data.get("engine") == self._engine:
                yield str(data["name"]), data

    def path(self, name: str) -> Path:
        """Where it is written down what is under way for this container."""
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
    return data if isinstance(data, dict) and _is_whole(data) else None


def _is_whole(data: Mapping[str, Any]) -> bool:
    """Whether it says all that is needed to put something right."""
    texts = ("engine", "name", "what", "id") + (("phase", "new") if data.get("what") == "replace" else ())
    return (
        all(isinstance(data.get(key), str) for key in texts)
        and data["what"] in ("stop", "replace")
        and isinstance(data.get("policy"), dict)
        and isinstance(data.get("signalled") or {}, dict)
        and isinstance(data.get("ready") or [], list)
        and isinstance(data.get("within_s") or 0, int | float)
        and isinstance(data.get("was_running", False), bool)
        and (data["what"] == "stop" or "was_running" in data)
    )
