"""Parameters of the transformers as they are written, and what they have in common: names, units, scale."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError

from hitless.agent.sample import Sample, SampleKind, timestamp
from hitless.agent.transformers.expression import Expression, wrapped
from hitless.agent.transformers.transformer import BadParameters

M = TypeVar("M", bound=BaseModel)

FIELDS: Final = (
    "name",
    "volume",
    "unit",
    "type",
    "resource_id",
    "project_id",
    "user_id",
    "timestamp",
    "source",
    "resource_metadata",
)
"""What an expression may name of a sample, as in Ceilometer."""
GROUP: Final = re.compile(r"\\(?:(\d{1,2})|g<(\w+)>)")


class Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Map(Parameters):
    """Regular expressions in `map_from`, what becomes of their matches in `map_to`."""

    name: StrictStr | None = None
    unit: StrictStr | None = None


class Source(Parameters):
    unit: StrictStr | None = None
    map_from: Map | None = None


Number = StrictInt | StrictFloat


class Target(Parameters):
    name: Annotated[StrictStr, Field(min_length=1)] | None = None
    unit: StrictStr | None = None
    type: SampleKind | None = None
    scale: Number | StrictStr | None = None
    """A factor, or an expression for the whole volume."""
    max: Number | None = None
    map_to: Map | None = None


def parsed(model: type[M], parameters: Mapping[str, Any]) -> M:
    """Raises BadParameters, with the first thing that is wrong."""
    try:
        return model.model_validate(dict(parameters))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # What a union has tried is in the path and stands in no file.
        path = tuple(part for part in first["loc"] if part not in ("int", "float", "str"))
        known = f"; there are: {', '.join(model.model_fields)}" if len(path) == 1 else ""
        if first["type"] == "extra_forbidden":
            raise BadParameters(f"unknown parameter {path[-1]}{known}", path) from None
        if first["type"] == "missing":
            raise BadParameters(f"the parameter {'.'.join(map(str, path))} is required", path[:-1]) from None
        raise BadParameters(first["msg"].removeprefix("Value error, "), path) from None


class Scope(Mapping[str, Any]):
    """A sample as expressions see it."""

    __slots__ = ("_sample",)

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def __getitem__(self, name: str) -> Any:
        sample = self._sample
        match name:
            case "volume" | "name" | "unit" | "source":
                return getattr(sample, name)
            case "resource_metadata":
                return wrapped(sample.metadata)
            case "type":
                return sample.kind
            case "resource_id":
                return sample.resource
            case "project_id":
                return sample.project
            case "user_id":
                return sample.user
            case "timestamp":
                return timestamp(sample.at)
        raise KeyError(name)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)


class Conversion:
    """What becomes of a sample's name, unit, type and volume."""

    def __init__(self, source: Source | None, target: Target | None) -> None:
        """Raises BadParameters."""
        source, target = source or Source(), target or Target()
        self.unit: Final = source.unit
        """Samples of another unit are none of its business."""
        self._target: Final = target
        self._maps: Final = _maps(source.map_from, target.map_to)
        self._expression: Final = _expression(target.scale)

    def name(self, sample: Sample) -> str:
        return self._mapped("name", sample.name, self._target.name)

    def converted(self, sample: Sample, growth: float = 1.0) -> Sample:
        """With the volume scaled and multiplied by `growth`."""
        volume, target = self.scaled(sample) * growth, self._target
        return sample._replace(
            name=self._mapped("name", sample.name, target.name),
            unit=self._mapped("unit", sample.unit, target.unit),
            kind=target.type or sample.kind,
            volume=min(volume, target.max) if target.max else volume,
        )

    def scaled(self, sample: Sample) -> float:
        if self._expression is not None:
            return self._expression.value(Scope(sample))
        scale = self._target.scale
        return sample.volume * scale if isinstance(scale, int | float) and scale else sample.volume

    def _mapped(self, field: str, value: str, fixed: str | None) -> str:
        if (pair := self._maps.get(field)) is not None and (mapped := pair[0].sub(pair[1], value)):
            return mapped
        return value if fixed is None else fixed


def _expression(scale: float | str | None) -> Expression | None:
    if not isinstance(scale, str):
        return None
    try:
        return Expression(scale, FIELDS)
    except ValueError as error:
        raise BadParameters(str(error), ("target", "scale")) from None


def _maps(from_: Map | None, to: Map | None) -> dict[str, tuple[re.Pattern[str], str]]:
    if (from_ is None) != (to is None):
        raise BadParameters("source.map_from and target.map_to go together; give both or none")
    found: dict[str, tuple[re.Pattern[str], str]] = {}
    for field in ("name", "unit"):
        pattern, replacement = getattr(from_, field, None), getattr(to, field, None)
        if pattern and replacement:
            found[field] = _pair(pattern, replacement, field)
    return found


def _pair(pattern: str, replacement: str, field: str) -> tuple[re.Pattern[str], str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadParameters(
            f"{pattern} is no regular expression: {error}", ("source", "map_from", field)
        ) from None
    for number, name in GROUP.findall(replacement):
        if (number and int(number) > compiled.groups) or (name and name not in _groups(compiled)):
            raise BadParameters(
                f"{replacement} names the group {number or name}, which {pattern} does not have",
                ("target", "map_to", field),
            )
    return compiled, replacement


def _groups(compiled: re.Pattern[str]) -> set[str]:
    return {*compiled.groupindex, *(str(number) for number in range(compiled.groups + 1))}
