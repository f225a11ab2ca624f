"""Where settings come from: a file, the environment, flags. Each gives a layer; later layers win."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel

from hitless.config.document import Data, Document
from hitless.config.file import read_text
from hitless.config.keys import KeyPath
from hitless.config.problems import ConfigError, Problem
from hitless.config.schema import settings_of
from hitless.config.text import value_of, values_of
from hitless.config.toml import parse_toml

OriginKind = Literal["default", "file", "environment", "flag", "etcd"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from."""

    kind: OriginKind
    where: str = ""
    """`hitless.toml:12`, `HITLESS_WORKERS`, `--workers`; empty for a default."""
    text: str = ""
    """What was written there, if it was text; it may be a secret."""

    def __str__(self) -> str:
        return self.where or self.kind


DEFAULT: Final = Origin("default")


@dataclass(frozen=True, slots=True)
class Version:
    """What a source held that is no file."""

    source: str
    """Its name."""
    number: str
    """The source's own name for it, as the revision of etcd."""
    hash: str
    """SHA-256 of the content; what a watcher of the same source compares."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one source, and where each of them stands in it."""

    data: Data
    origin: Callable[[KeyPath], Origin]
    name: str
    files: tuple[tuple[Path, bytes], ...] = ()
    """What was read from disk, for the hash of the content."""
    version: Version | None = None
    """What was read from elsewhere."""


class Source(Protocol):
    def layer(self, model: type[BaseModel]) -> Layer:
        """The values for this model.

        Raises:
            ConfigError: the source cannot be read; SourceUnreachable if it cannot be asked now.
        """


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A TOML file. `allow_writable` takes one that others than its owner may write."""

    path: str | os.PathLike[str]
    allow_writable: bool = False

    def layer(self, model: type[BaseModel]) -> Layer:  # noqa: ARG002
        path = Path(self.path)
        text = read_text(path, allow_writable=self.allow_writable)
        return file_layer(path, text, parse_toml(text, os.fspath(path)))


def file_layer(path: Path, text: str, document: Document) -> Layer:
    """The layer of a file that has been read and parsed, whatever its format."""
    name = os.fspath(path)
    lines = text.splitlines()

    def origin(at: KeyPath) -> Origin:
        line = document.line(at)
        if line is None:
            return Origin("file", name)
        return Origin("file", f"{name}:{line}", lines[line - 1].strip() if line <= len(lines) else "")

    return Layer(document.data, origin, name, ((path, text.encode()),))


RESERVED: Final = ("HITLESS_RUN_DIR", "HITLESS_NODE", "HITLESS_ADDRESS")
"""The last two tell a command that a rollout runs on a node which node it is; it may start a service."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Environment variables: `drain.timeout` is `HITLESS_DRAIN_TIMEOUT`. An unknown one with the prefix is an error.

    `reserved` are names with the prefix that mean something else, `elsewhere` prefixes of other commands' settings.
    """

    prefix: str = "HITLESS"
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    reserved: Collection[str] = RESERVED
    elsewhere: Collection[str] = ("HITLESS_DB_",)

    def layer(self, model: type[BaseModel]) -> Layer:
        known = {self._variable(path): (path, info) for path, info in settings_of(model).items()}
        data: Data = {}
        problems = []
        for name, text in sorted(self.environ.items()):
            if not name.startswith(f"{self.prefix}_") or name in self.reserved or self._is_elsewhere(name):
                continue
            if name in known:
                path, info = known[name]
                _put(data, path, value_of(text, info))
            else:
                hint = _hint(name, known, shared=f"{self.prefix}_")
                problems.append(Problem(name, "", f"unknown environment variable{hint}"))
        if problems:
            raise ConfigError(problems)
        return Layer(data, self._origin, "the environment")

    def _origin(self, path: KeyPath) -> Origin:
        names = [self._variable(path[:length]) for length in range(len(path), 0, -1)]
        name = next((name for name in names if name in self.environ), names[-1] if names else self.prefix)
        return Origin("environment", name, self.environ.get(name, ""))

    def _is_elsewhere(self, name: str) -> bool:
        mine = f"{self.prefix}_"
        return any(name.startswith(prefix) for prefix in self.elsewhere if not mine.startswith(prefix))

    def _variable(self, path: KeyPath) -> str:
        return "_".join((self.prefix, *(str(part) for part in path))).upper()


@dataclass(frozen=True, slots=True)
class Flags:
    """Command-line flags by dotted key; a value of None was not given. Text is read like that of the environment."""

    values: Mapping[str, Any]

    def layer(self, model: type[BaseModel]) -> Layer:
        known = {".".join(path): (path, info) for path, info in settings_of(model).items()}
        data: Data = {}
        problems = []
        for key, value in self.values.items():
            if key not in known:
                problems.append(Problem(_flag(key), key, f"unknown setting{_hint(key, known)}"))
                continue
            path, info = known[key]
            if isinstance(value, str):
                _put(data, path, value_of(value, info))
            elif isinstance(value, list | tuple):
                _put(data, path, values_of(value, info))
            elif value is not None:
                _put(data, path, value)
        if problems:
            raise ConfigError(problems)
        return Layer(data, self._origin, "the command line")

    def _origin(self, path: KeyPath) -> Origin:
        keys = [".".join(str(part) for part in path[:length]) for length in range(len(path), 0, -1)]
        key = next((key for key in keys if self.values.get(key) is not None), keys[-1] if keys else "")
        value = self.values.get(key)
        return Origin("flag", _flag(key), value if isinstance(value, str) else "")


def _flag(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")


def _put(data: Data, path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    for part in parents:
        data = data.setdefault(part, {})
    data[last] = value


def _hint(name: str, known: Collection[str], shared: str = "") -> str:
    """What was perhaps meant; `shared` is a prefix that makes all names look alike."""
    names = [each.removeprefix(shared) for each in known]
    close = get_close_matches(name.removeprefix(shared), names, n=1)
    return f"; did you mean {shared}{close[0]}?" if close else ""
