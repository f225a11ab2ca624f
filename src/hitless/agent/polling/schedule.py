"""When each source is due: one timer per source, from its first due time in steps of its interval. Pure.

A timer's n-th due time is `first + n * interval`, computed, not added up: it does not drift, and what happens to other
timers does not move it.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from hitless.agent.definition import PollingSource

FULL: Final = 2**64


@dataclass(frozen=True, slots=True)
class Timer:
    interval_s: float
    jitter_s: float
    first: float
    """Monotonic time."""

    def due(self, number: int) -> float:
        return self.first + number * self.interval_s

    def number_at(self, now: float) -> int:
        """The last due time that is not after `now`; below 0 before the first."""
        return int((now - self.first) // self.interval_s)


@dataclass(frozen=True, slots=True)
class Tick:
    source: str
    due: float
    """Monotonic time."""
    missed: int = 0
    """Due times that passed before this one while nobody looked, as when the machine slept."""
    at: float | None = None
    """The due time in Unix time, where it is that which was meant."""


class Timetable(Protocol):
    """What the poller asks when something is due. Times are monotonic seconds."""

    def arrange(
        self, sources: Mapping[str, PollingSource], now: float, due: Mapping[str, float] | None = None
    ) -> None:
        """Have these, and no others; `due` is what another timetable said."""

    def due(self) -> dict[str, float]:
        """When each source is due next."""

    @property
    def next_due(self) -> float | None:
        """When something may be there to take; None until it is said anew."""

    def take(self, now: float) -> Iterable[Tick]:
        """What is due by now, the earliest first, once."""


class Schedule:
    """Owned by one task."""

    def __init__(self) -> None:
        self._timers: Final[dict[str, Timer]] = {}
        self._next: Final[dict[str, int]] = {}
        self._heap: list[tuple[float, str]] = []

    def arrange(
        self, sources: Mapping[str, PollingSource], now: float, due: Mapping[str, float] | None = None
    ) -> None:
        """Have a timer for each of these, and for no other. One whose interval and jitter stay, stays as it is.

        A new interval counts from the last due time, so that a change neither doubles a poll nor puts one off for longer
        than the new interval. `due` are due times of another schedule that new timers take over.
        """
        inherited = due or {}
        for name in [each for each in self._timers if each not in sources]:
            del self._timers[name], self._next[name]
        for name, source in sources.items():
            old = self._timers.get(name)
            jitter = float(source.interval if source.jitter is None else source.jitter)
            if old is None and name in inherited:
                # No later than one interval from now: that schedule may have had a longer one.
                first = min(inherited[name], now + source.interval)
                self._set(name, Timer(source.interval, jitter, first))
            elif old is None:
                self._set(name, Timer(source.interval, jitter, now + jitter * spread(name)))
            elif (old.interval_s, old.jitter_s) != (source.interval, jitter):
                self._set(name, Timer(source.interval, jitter, self._after(name, old, source.interval, now)))
        self._heap = [(self._timers[name].due(number), name) for name, number in self._next.items()]
        heapq.heapify(self._heap)

    def _after(self, name: str, old: Timer, interval_s: float, now: float) -> float:
        number = self._next[name]
        if number == 0:  # it was never due: its place in the interval is the new one's
            return min(old.first, now + interval_s)
        return max(now, old.due(number - 1) + interval_s)

    def _set(self, name: str, timer: Timer) -> None:
        self._timers[name] = timer
        self._next[name] = 0

    def due(self) -> dict[str, float]:
        """When each source is due next."""
        return {name: self._timers[name].due(number) for name, number in self._next.items()}

    @property
    def next_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> Iterable[Tick]:
        """What is due by now, the earliest first. A timer that is behind by several intervals is due once."""
        ticks = []
        while self._heap and self._heap[0][0] <= now:
            due, name = self._heap[0]
            timer, number = self._timers[name], self._next[name]
            latest = max(number, timer.number_at(now))
            ticks.append(Tick(name, timer.due(latest) if latest > number else due, latest - number))
            self._next[name] = latest + 1
            heapq.heapreplace(self._heap, (timer.due(latest + 1), name))
        return ticks


def spread(name: str) -> float:
    """A fraction from 0 to 1 that is this name's own: the same in every process, so that restarts do not move it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / FULL
