"""What a transformer remembers of each meter and resource: bounded, the longest unseen is forgotten first."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

LIMIT: Final = 100_000
"""Resources come and go; without a bound each would stay for ever."""


class Memory(Generic[K, V]):
    def __init__(self, limit: int = LIMIT) -> None:
        self._limit: Final = limit
        self._values: Final[dict[K, V]] = {}

    def swap(self, key: K, value: V) -> V | None:
        """Remember `value`; what was remembered before it."""
        values = self._values
        before = values.pop(key, None)
        values[key] = value
        if len(values) > self._limit:
            del values[next(iter(values))]
        return before

    def setdefault(self, key: K, value: V) -> V:
        before = self._values.get(key)
        if before is not None:
            return before
        self.swap(key, value)
        return value

    def pop(self, key: K) -> None:
        self._values.pop(key, None)

    def __len__(self) -> int:
        return len(self._values)
