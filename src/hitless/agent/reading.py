"""Files into a definition: all or nothing, and every problem at once with file, line and key."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from hitless.agent.definition import (
    EVENT_PREFIX,
    Definition,
    Disk,
    PollingSource,
    Retry,
    Route,
    Sink,
    Transformer,
)
from hitless.agent.written import (
    CombinedFile,
    CombinedRow,
    EventFile,
    EventRow,
    PipelineFile,
    PipelineRow,
    Polled,
    PollingFile,
    PollingRow,
    SinkRow,
    file_model,
)
from hitless.change import digest
from hitless.config import ConfigError, Document, KeyPath, Problem, dotted, plain
from hitless.config.complaints import complaints
from hitless.config.file import read_text
from hitless.config.keys import scalars
from hitless.config.yaml import parse_yaml

FILES: Final = ("polling.yaml", "pipeline.yaml", "event_pipeline.yaml")
"""What is read from a directory, where it is there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something of a definition stands."""

    file: str
    line: int | None
    key: str

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def problem(self, message: str) -> Problem:
        return Problem(str(self), self.key, message)


@dataclass(frozen=True, slots=True)
class Reading:
    """A definition that may be used as far as it is known without plug-ins."""

    definition: Definition
    places: Mapping[KeyPath, Place]
    """By path in the definition, list items included: `("sinks", "archive", "publishers", 0)`."""
    files: tuple[tuple[Path, bytes], ...] = ()

    def place(self, path: KeyPath) -> Place:
        """Where this stands, or the nearest thing around it."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path, Place("the definition", None, dotted(path)))

    @property
    def hash(self) -> str:
        """SHA-256 of the definition: the same for files that differ in comments, order or format."""
        return digest(plain(self.definition))


def read(paths: Sequence[str | os.PathLike[str]], *, allow_writable: bool = False) -> Reading:
    """The definition that the files give together; a directory stands for Ceilometer's files in it.

    Raises:
        ConfigError: with every problem there is. Links between files are looked at only when each of them is valid.
    """
    draft = _Draft()
    for path in _expanded(paths, draft.problems):
        try:
            draft.read(path, allow_writable=allow_writable)
        except ConfigError as error:
            draft.problems += error.problems
    return draft.reading()


def _expanded(paths: Iterable[str | os.PathLike[str]], problems: list[Problem]) -> list[Path]:
    found: list[Path] = []
    for each in paths:
        path = Path(each)
        inside = [path / name for name in FILES if (path / name).exists()] if path.is_dir() else [path]
        if not inside:
            problems.append(Problem(os.fspath(path), "", f"has none of {', '.join(FILES)} in it"))
        found += inside
    return found


@dataclass(slots=True)
class _Draft:
    """What has been read so far, by kind and name."""

    tables: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {kind: {} for kind in Definition.model_fields}
    )
    places: dict[KeyPath, Place] = field(default_factory=dict)
    files: list[tuple[Path, bytes]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def read(self, path: Path, *, allow_writable: bool) -> None:
        text = read_text(path, allow_writable=allow_writable)
        self.files.append((path, text.encode()))
        document = parse_yaml(text, os.fspath(path))
        file = _File(os.fspath(path), document, self)
        file.take(_valid(file_model(document.data), file))

    def reading(self) -> Reading:
        if not self.problems:
            self._check_names()
            self._check_spills()
            self._check_links("samples", "sinks")
            self._check_links("events", "event_sinks")
        if self.problems:
            raise ConfigError(self.problems)
        return Reading(Definition(**self.tables), dict(self.places), tuple(self.files))

    def _check_names(self) -> None:
        """Pipelines, outlets and counts of events are told from those of samples by this prefix."""
        for name in self.tables["sinks"]:
            if name.startswith(EVENT_PREFIX):
                place = self.places[("sinks", name, "name")]
                self.problems.append(
                    place.problem(f"{EVENT_PREFIX} is for sinks of events; name it differently")
                )

    def _check_spills(self) -> None:
        for kind in ("sinks", "event_sinks"):
            for name, sink in self.tables[kind].items():
                if sink.when_full == "spill" and sink.disk is None:
                    place = self.places[(kind, name, "when_full")]
                    self.problems.append(
                        place.problem("spill needs a place; give the sink disk: {path: /FOLDER}")
                    )

    def _check_links(self, routes: str, sinks: str) -> None:
        """Sinks that are not there, and pipelines of one name (as `a:b` to `c` and `a` to `b:c`)."""
        pipelines: dict[str, Place] = {}
        for name, route in self.tables[routes].items():
            for index, sink in enumerate(route.sinks):
                place = self.places[(routes, name, "sinks", index)]
                if sink not in self.tables[sinks]:
                    known = ", ".join(self.tables[sinks]) or "none"
                    self.problems.append(
                        place.problem(f"there is no sink {sink}; define it below sinks (there are: {known})")
                    )
                pipeline = name if name == sink else f"{name}:{sink}"
                if pipeline in pipelines:
                    message = f"the pipeline {pipeline} stands here and at {pipelines[pipeline]}; keep one"
                    self.problems.append(place.problem(message))
                pipelines.setdefault(pipeline, place)


class _File:
    """One file: from rows to a draft, noting where each thing stands."""

    def __init__(self, name: str, document: Document, draft: _Draft) -> None:
        self.name: Final = name
        self.document: Final = document
        self._draft: Final = draft
        self._paths: Final[dict[KeyPath, list[KeyPath]]] = {}
        for path in document.lines:
            self._paths.setdefault(path[:2], []).append(path)

    def place(self, path: KeyPath) -> Place:
        return Place(self.name, self.document.line(path), dotted(path))

    def take(self, file: BaseModel) -> None:
        if not isinstance(file, PollingFile | PipelineFile | CombinedFile | EventFile):
            raise TypeError(f"no format is {type(file).__name__}")
        for index, row in enumerate(file.sources):
            at: KeyPath = ("sources", index)
            if isinstance(row, PollingRow | CombinedRow):
                self._put("polling", row.name, _polling(row, self._meters(row, at)), at)
            if isinstance(row, PipelineRow | CombinedRow):
                self._put("samples", row.name, Route(names=self._meters(row, at), sinks=row.sinks), at)
            if isinstance(row, EventRow):
                self._put("events", row.name, Route(names=row.events, sinks=row.sinks), at)
        if not isinstance(file, PollingFile):
            for index, sink in enumerate(file.sinks):
                kind = "event_sinks" if isinstance(file, EventFile) else "sinks"
                self._put(kind, sink.name, _sink(sink), ("sinks", index))

    def _meters(self, row: Polled | PipelineRow, at: KeyPath) -> tuple[str, ...]:
        both = [key for key in ("meters", "counters") if getattr(row, key) is not None]
        if len(both) == 1:
            return row.meters or row.counters or ()
        path = (*at, "meters")
        problem = self.place(path).problem(
            "counters is its old name; keep meters"
            if both
            else "is required (names, globs or exclusions of meters)"
        )
        if problem not in self._draft.problems:
            self._draft.problems.append(problem)
        return ()

    def _put(self, kind: str, name: str, value: BaseModel, at: KeyPath) -> None:
        draft = self._draft
        if name in draft.tables[kind]:
            first = draft.places[(kind, name, "name")]
            message = f"{name} stands here and at {first}; give one of them another name"
            draft.problems.append(self.place((*at, "name")).problem(message))
            return
        draft.tables[kind][name] = value
        for path in self._paths.get(at, ()):
            draft.places[(kind, name, *_renamed(path[len(at) :]))] = self.place(path)


def _renamed(path: KeyPath) -> KeyPath:
    """The definition's name for a key of a file, as far as `place` is asked for it."""
    return ("meters", *path[1:]) if path[:1] == ("counters",) else path


def _polling(row: PollingRow | CombinedRow, meters: tuple[str, ...]) -> PollingSource:
    return PollingSource(
        interval=row.interval,
        meters=meters,
        resources=row.resources or (),
        discovery=row.discovery or (),
        jitter=row.jitter,
        timeout=row.timeout,
    )


def _sink(row: SinkRow) -> Sink:
    return Sink(
        publishers=row.publishers,
        transformers=tuple(
            Transformer(name=each.name, parameters=each.parameters or {}) for each in row.transformers or ()
        ),
        buffer=row.buffer,
        when_full=row.when_full,
        disk=None if row.disk is None else Disk(**row.disk.model_dump()),
        batch_size=row.batch_size,
        retry=Retry(attempts=row.retry.attempts, first=row.retry.first, longest=row.retry.longest),
    )


def _valid(model: type[BaseModel], file: _File) -> BaseModel:
    data = file.document.data
    _check_numbers(file)
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":  # text that cannot be written was refused before
            raise ConfigError([Problem(file.name, "", "is nested too deeply")]) from None
        raise ConfigError(complaints(error, model, data, lambda path: str(file.place(path)))) from None


def _check_numbers(file: _File) -> None:
    """Refuse what YAML can hold and JSON cannot."""
    found = [
        file.place(path).problem(f"expected a finite number, got {value}")
        for path, value in scalars(file.document.data)
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if found:
        raise ConfigError(found)
