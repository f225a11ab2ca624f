"""What a path is made of: steps from a match to those below it, and expressions over them. None of them ever raises."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

DEPTH_LIMIT: Final = 100
"""Of `..`: deeper values of a message are not looked at."""


class Match(NamedTuple):
    where: tuple[str, ...]
    value: Any


Step = Callable[[Match], Iterator[Match]]


class Steps:
    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps: Final = tuple(steps)

    def find(self, match: Match) -> Iterator[Match]:
        found = [match]
        for step in self.steps:
            found = [deeper for each in found for deeper in step(each)]
        return iter(found)

    def names(self) -> tuple[str, ...] | None:
        names = [step.name for step in self.steps if isinstance(step, Name)]
        return tuple(names) if len(names) == len(self.steps) else None


@dataclass(frozen=True, slots=True)
class Name:
    name: str

    def __call__(self, match: Match) -> Iterator[Match]:
        if isinstance(match.value, dict) and self.name in match.value:
            yield Match((*match.where, self.name), match.value[self.name])


@dataclass(frozen=True, slots=True)
class Index:
    index: int

    def __call__(self, match: Match) -> Iterator[Match]:
        items = match.value
        if isinstance(items, list) and -len(items) <= self.index < len(items):
            yield Match((*match.where, f"[{self.index}]"), items[self.index])


@dataclass(frozen=True, slots=True)
class Slice:
    start: int | None = None
    end: int | None = None

    def __call__(self, match: Match) -> Iterator[Match]:
        """A single value counts as a list of one: so do the definitions for Swift's measurements."""
        value = match.value
        items = value if isinstance(value, list) else [] if value is None else [value]
        for index in range(*slice(self.start, self.end).indices(len(items))):
            yield Match((*match.where, f"[{index}]"), items[index])


def all_names(match: Match) -> Iterator[Match]:
    if isinstance(match.value, dict):
        for name, value in match.value.items():
            yield Match((*match.where, name), value)


@dataclass(frozen=True, slots=True)
class Below:
    """`..`: the step, here and at every depth."""

    step: Step

    def __call__(self, match: Match) -> Iterator[Match]:
        yield from self.step(match)
        if len(match.where) < DEPTH_LIMIT:
            inner = all_names(match) if isinstance(match.value, dict) else Slice()(match)
            if isinstance(match.value, dict | list):
                for each in inner:
                    yield from self(each)


@dataclass(frozen=True, slots=True)
class Condition:
    path: Steps
    compare: Callable[[Any, Any], bool] | None
    value: Any

    def holds(self, item: Any) -> bool:
        found = list(self.path.find(Match((), item)))
        if not found or self.compare is None:
            return bool(found)
        try:
            return any(self.compare(_as(each.value, self.value), self.value) for each in found)
        except TypeError:
            return False


def _as(value: Any, pattern: Any) -> Any:
    """A value that is text, where it is compared with a number."""
    if isinstance(pattern, int | float) and not isinstance(pattern, bool) and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


@dataclass(frozen=True, slots=True)
class Where:
    conditions: tuple[Condition, ...]

    def __call__(self, match: Match) -> Iterator[Match]:
        value = match.value
        items = list(value.values()) if isinstance(value, dict) else value
        if isinstance(items, list):
            for index, item in enumerate(items):
                if all(each.holds(item) for each in self.conditions):
                    yield Match((*match.where, f"[{index}]"), item)


@dataclass(frozen=True, slots=True)
class Split:
    separator: str
    segment: int
    limit: int

    def __call__(self, match: Match) -> Iterator[Match]:
        if isinstance(match.value, str):
            parts = match.value.split(self.separator, self.limit)
            if self.segment < len(parts):
                yield Match(match.where, parts[self.segment])


@dataclass(frozen=True, slots=True)
class Sub:
    pattern: re.Pattern[str]
    replacement: str

    def __call__(self, match: Match) -> Iterator[Match]:
        if isinstance(match.value, str):
            yield Match(match.where, self.pattern.sub(self.replacement, match.value))


def length(match: Match) -> Iterator[Match]:
    if isinstance(match.value, list | dict | str):
        yield Match(match.where, len(match.value))


class Constant:
    def __init__(self, value: Any) -> None:
        self.value: Final = value

    def find(self, _: Match) -> Iterator[Match]:
        yield Match((), self.value)


class Union:
    def __init__(self, sides: Sequence[Expression]) -> None:
        self._sides: Final = tuple(sides)

    def find(self, match: Match) -> Iterator[Match]:
        for side in self._sides:
            yield from side.find(match)


class Sum:
    """`a + b`: pair by pair where both have as many matches; a constant goes with each of the other side."""

    def __init__(self, left: Expression, do: Callable[[Any, Any], Any], right: Expression) -> None:
        self._left: Final = left
        self._do: Final = do
        self._right: Final = right

    def find(self, match: Match) -> Iterator[Match]:
        left, right = list(self._left.find(match)), list(self._right.find(match))
        if isinstance(self._left, Constant):
            left *= len(right)
        if isinstance(self._right, Constant):
            right *= len(left)
        if len(left) != len(right):
            return
        for one, other in zip(left, right, strict=True):
            try:
                yield Match(one.where, self._do(one.value, other.value))
            except (TypeError, ArithmeticError):
                return


Expression = Steps | Constant | Union | Sum
