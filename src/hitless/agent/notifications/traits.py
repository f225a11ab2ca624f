"""Plug-ins of fields (`plugin: split`): from what the paths found to values. The names and options are Ceilometer's.

Others are entry points of the group `hitless.trait`, the name is the plug-in's: a `Factory`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from hitless.agent.notifications.notification import Unparsable, moment

Found: TypeAlias = Sequence[tuple[str, Any]]
"""Dotted path and value of each match; empty if there is none."""


class TraitPlugin(Protocol):
    def values(self, found: Found) -> list[Any]:
        """None stands for a value that is not there. Called in threads; keep nothing between calls."""


Factory: TypeAlias = Callable[..., TraitPlugin]
"""Raises TypeError or ValueError: the parameters are wrong."""


class Split:
    """One segment of a text."""

    def __init__(self, separator: str = ".", segment: int = 0, max_split: int | None = None) -> None:
        self._separator: Final = separator
        self._segment: Final = segment
        self._limit: Final = -1 if max_split is None else max_split
        "".split(separator, self._limit)  # raises where the separator is empty

    def values(self, found: Found) -> list[Any]:
        return [self._of(str(value)) for _, value in found]

    def _of(self, text: str) -> str | None:
        parts = text.split(self._separator, self._limit)
        return parts[self._segment] if -len(parts) <= self._segment < len(parts) else None


class Bitfield:
    """A bit for each flag whose path was found, with its value where it names one."""

    def __init__(self, initial_bitfield: int = 0, flags: Sequence[Mapping[str, Any]] | None = None) -> None:
        self._initial: Final = int(initial_bitfield)
        self._flags: Final = tuple(flags or ())
        for flag in self._flags:
            if not {"path", "bit"} <= flag.keys() <= {"path", "bit", "value"}:
                raise ValueError("a flag has a path, a bit, and perhaps a value")
            int(flag["bit"])

    def values(self, found: Found) -> list[Any]:
        matches, bits = dict(found), self._initial
        for flag in self._flags:
            path = flag["path"]
            if path in matches and ("value" not in flag or matches[path] == flag["value"]):
                bits |= 1 << int(flag["bit"])
        return [bits]


class TimeDelta:
    """Seconds between two times."""

    def values(self, found: Found) -> list[Any]:
        if len(found) != 2:
            return [None]
        try:
            start, end = (moment(str(value)) for _, value in found)
        except Unparsable:
            return [None]
        return [abs((end - start).total_seconds())]


class Map:
    """Another value for each value."""

    def __init__(
        self, values: Mapping[Any, Any] | None = None, default: Any = None, case_sensitive: bool = True
    ) -> None:
        if not values or not isinstance(values, Mapping):
            raise ValueError("values is required: a table from what is found to what it becomes")
        self._case_sensitive: Final = case_sensitive
        self._default: Final = default
        # By text: in the files' strict YAML every key is text.
        self._values: Final = {self._folded(key): value for key, value in values.items()}

    def values(self, found: Found) -> list[Any]:
        return [self._values.get(self._folded(value), self._default) for _, value in found]

    def _folded(self, value: Any) -> str:
        return str(value) if self._case_sensitive else str(value).casefold()
