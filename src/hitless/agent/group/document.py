"""A group's configuration as it is kept in the store: the files of a definition in one text, known by its hash."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.agent.checking import check
from hitless.agent.notifications.settings import Notifications
from hitless.agent.plugins import Plugins
from hitless.agent.reading import read
from hitless.agent.running import Running
from hitless.change import Refused, digest
from hitless.config import ConfigError, Problem

MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Document:
    files: tuple[tuple[str, str], ...]
    """Name and content of each, by name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files)))

    @property
    def text(self) -> str:
        return json.dumps({"files": self.files})

    @property
    def hash(self) -> str:
        return digest(self.files)

    @classmethod
    def of(cls, text: str) -> Document:
        """Raises ValueError: it is none."""
        try:
            files = json.loads(text)["files"]
            return cls(tuple((str(name), str(content)) for name, content in files))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("it does not hold the files of a definition") from error

    @classmethod
    def kept(cls, text: str, config: str) -> Document:
        """What a store keeps as `config`. Where it was changed in its place, members would poll by different ones of one name.

        Raises:
            Refused: it is none, or another one.
        """
        try:
            document = cls.of(text)
        except ValueError as error:
            raise Refused(
                "config_invalid", f"the configuration cannot be read: {error}", invalid=True
            ) from error
        if document.hash != config:
            told = (
                f"what the store keeps as configuration {config[:12]} was changed there; propose it instead"
            )
            raise Refused("config_invalid", told, invalid=True)
        return document

    @classmethod
    def read(
        cls, paths: Sequence[str | os.PathLike[str]], plugins: Plugins, *, allow_writable: bool = False
    ) -> Document:
        """Of files that were checked by the code that the agent runs.

        Raises:
            ConfigError: they are not valid here.
        """
        reading = read(paths, allow_writable=allow_writable)
        if problems := check(reading, plugins).problems:
            raise ConfigError(problems)
        files = tuple((path.name, content.decode()) for path, content in reading.files)
        if len(dict(files)) < len(files):
            raise ConfigError([Problem(files[-1][0], "", "two files of a group have the same name")])
        return cls(files)

    def running(self, folder: Path, plugins: Plugins, notifications: Notifications) -> Running:
        """What it says, by way of files in `folder`, so that complaints have a file and a line.

        Raises:
            Refused: it is not valid here.
        """
        place = folder / self.hash[:16]
        try:
            reading = read(self._written(place))
            problems = check(reading, plugins).problems
        except ConfigError as error:
            problems = tuple(error.problems)
        except OSError as error:
            raise Refused("config_unwritable", f"it cannot be written to {place}: {error}") from error
        if problems:
            told = "\n".join(str(each).replace(f"{place}/", "") for each in problems)
            raise Refused("config_invalid", told, invalid=True)
        return Running.of(reading.definition, notifications)

    def _written(self, place: Path) -> list[Path]:
        """Raises OSError."""
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = []
        for name, content in self.files:
            path = place / Path(name).name
            path.write_text(content)
            path.chmod(MODE)
            paths.append(path)
        return paths
