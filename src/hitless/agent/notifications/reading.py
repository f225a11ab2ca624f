"""Files of definitions into values, with every problem at once, by file, line and key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hitless.agent.notifications.definitions import (
    LIST_KEY,
    EventDefinition,
    EventsFile,
    FieldRow,
    FieldValue,
    MeterDefinition,
    MetersFile,
)
from hitless.agent.notifications.field import Field
from hitless.agent.plugins import PluginError, Plugins
from hitless.config import ConfigError, Document, KeyPath, Problem, dotted
from hitless.config.complaints import complaints
from hitless.config.file import read_text
from hitless.config.yaml import parse_yaml

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Read:
    meters: tuple[MeterDefinition, ...] = ()
    events: tuple[EventDefinition, ...] = ()
    files: tuple[tuple[Path, bytes], ...] = ()


def definition_files(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """A directory stands for the `*.yaml` in it, by name."""
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return found


def read_definitions(
    meters: Sequence[str | os.PathLike[str]],
    events: Sequence[str | os.PathLike[str]],
    *,
    plugins: Plugins | None,
    allow_writable: bool = False,
) -> Read:
    """Plug-ins are looked at only where `plugins` are given. Raises ConfigError."""
    draft = _Draft(plugins, allow_writable)
    for path in definition_files(meters):
        draft.read(path, MetersFile)
    for path in definition_files(events):
        draft.read(path, EventsFile)
    if draft.problems:
        raise ConfigError(draft.problems)
    return Read(tuple(draft.meters), tuple(draft.events), tuple(draft.files))


class _Draft:
    def __init__(self, plugins: Plugins | None, allow_writable: bool) -> None:
        self._plugins = plugins
        self._allow_writable = allow_writable
        self._names: dict[str, str] = {}
        self.meters: list[MeterDefinition] = []
        self.events: list[EventDefinition] = []
        self.files: list[tuple[Path, bytes]] = []
        self.problems: list[Problem] = []

    def read(self, path: Path, model: type[BaseModel]) -> None:
        name = os.fspath(path)
        try:
            text = read_text(path, allow_writable=self._allow_writable)
            self.files.append((path, text.encode()))
            document = parse_yaml(text, name, merge_keys=True, list_key=LIST_KEY)
            self._take(_valid(document, model, name), document, name)
        except ConfigError as error:
            self.problems += error.problems

    def _take(self, file: BaseModel, document: Document, name: str) -> None:
        rows = file.metric if isinstance(file, MetersFile) else ()
        for index, meter in enumerate(rows):
            place = _place(name, document, ("metric", index, "name"))
            if (first := self._names.setdefault(meter.name, place)) is not place:
                message = f"the meter {meter.name} is defined here and at {first}; keep one"
                self.problems.append(Problem(place, f"metric[{index}].name", message))
            self._check(dict(_fields_of_meter(meter)), ("metric", index), document, name)
            self.meters.append(meter)
        for index, event in enumerate(file.definitions if isinstance(file, EventsFile) else ()):
            fields: dict[KeyPath, FieldValue] = {("traits", key): each for key, each in event.traits.items()}
            self._check(fields, (LIST_KEY, index), document, name)
            self.events.append(event)

    def _check(self, fields: dict[KeyPath, FieldValue], at: KeyPath, document: Document, name: str) -> None:
        if self._plugins is None:
            return
        for path, value in fields.items():
            if isinstance(value, FieldRow):
                try:
                    Field(value, self._plugins)
                except (PluginError, ValueError) as error:
                    full = (*at, *path)
                    self.problems.append(Problem(_place(name, document, full), dotted(full), str(error)))


def _fields_of_meter(meter: MeterDefinition) -> Iterator[tuple[KeyPath, FieldValue]]:
    for key in ("volume", "resource_id", "user_id", "project_id", "timestamp", "user_metadata"):
        if (value := getattr(meter, key)) is not None:
            yield (key,), value
    yield from ((("metadata", key), value) for key, value in meter.metadata.items())


def _valid(document: Document, model: type[M], name: str) -> M:
    def where(path: KeyPath) -> str:
        return _place(name, document, path)

    try:
        return model.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        raise ConfigError(complaints(error, model, document.data, where)) from None


def _place(name: str, document: Document, path: KeyPath) -> str:
    line = document.line(path)
    return name if line is None else f"{name}:{line}"
