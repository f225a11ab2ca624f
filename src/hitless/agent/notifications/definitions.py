"""The files of definitions as they are written: Ceilometer's `meters.yaml` and `event_definitions.yaml`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Self, TypeAlias, get_args

from pydantic import AfterValidator, Field, model_validator

from hitless.agent.definition import Value
from hitless.agent.notifications.path import Path, PathError
from hitless.agent.sample import SampleKind

LIST_KEY: Final = "definitions"
"""`event_definitions.yaml` is a list: it is read as if it stood below this key."""
KINDS: Final = get_args(SampleKind)


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """One text stands for a list of it."""
    return (value,) if isinstance(value, str) else value


def _regexes(value: str | tuple[str, ...]) -> tuple[str, ...]:
    for text in _several(value):
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"expected a regular expression: {error}") from None
    return _several(value)


def _path(text: str) -> str:
    try:
        Path(text)
    except PathError as error:
        raise ValueError(str(error)) from None
    return text


Name = Annotated[str, Field(min_length=1)]
PathText = Annotated[Name, AfterValidator(_path)]
Paths: TypeAlias = PathText | tuple[PathText, ...] | int | float
_OneOrMore: TypeAlias = Name | Annotated[tuple[Name, ...], Field(min_length=1)]
Texts = Annotated[_OneOrMore, AfterValidator(_several)]
Regexes = Annotated[_OneOrMore, AfterValidator(_regexes)]


class PluginRow(Value):
    name: Name
    parameters: dict[str, Any] | None = None


class FieldRow(Value):
    fields: Paths
    plugin: Name | PluginRow | None = None


FieldValue: TypeAlias = FieldRow | Paths


class TraitRow(FieldRow):
    type: Annotated[str, Field(pattern="^(text|int|float|datetime)$")] = "text"


class EventDefinition(Value):
    """How notifications whose type passes `event_type` (globs, `!` exclusions) become events."""

    event_type: Texts
    traits: dict[Name, TraitRow | Paths] = Field(default={})


class MeterDefinition(Value):
    """How notifications whose type a regular expression of `event_type` matches at its beginning become samples.

    `name`, `type` and `unit` are paths where they find something, and else stand for themselves.
    """

    name: Name
    event_type: Regexes
    type: Name
    unit: Name
    volume: FieldValue
    resource_id: FieldValue
    user_id: FieldValue | None = None
    project_id: FieldValue | None = None
    timestamp: FieldValue | None = None
    metadata: dict[Name, FieldValue] = Field(default={})
    user_metadata: FieldValue | None = None
    lookup: Annotated[Name | tuple[Name, ...], AfterValidator(_several)] = ()
    """What has several values in one notification: a sample for each."""

    @model_validator(mode="after")
    def _kind(self) -> Self:
        if "type" not in self.lookup and self.type not in KINDS:
            raise ValueError(f"type is {self.type}; expected {', '.join(KINDS)}, or a path that lookup names")
        return self


class MetersFile(Value):
    metric: tuple[MeterDefinition, ...]


class EventsFile(Value):
    definitions: tuple[EventDefinition, ...]
