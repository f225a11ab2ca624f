"""When each source is due, for all members of a group alike: at times that follow from its name, its interval and the wall clock.

The n-th due time is `phase + n * interval` milliseconds of Unix time, whole numbers, so that two members never disagree about
the side of a boundary that a tick is on. A clock that is set forward leaves ticks out, one that is set back waits: no tick
comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hitless.agent.definition import PollingSource
from hitless.agent.polling.clock import Clock
from hitless.agent.polling.schedule import Tick, spread


@dataclass(frozen=True, slots=True)
class Grid:
    """The due times of one source, in milliseconds."""

    phase: int
    interval: int

    @classmethod
    def of(cls, name: str, source: PollingSource) -> Grid:
        interval = source.interval * 1000
        jitter = interval if source.jitter is None else round(source.jitter * 1000)
        return cls(int(jitter * spread(name)) % interval, interval)

    def due(self, number: int) -> int:
        return self.phase + number * self.interval

    def at_or_after(self, time: int) -> int:
        """Number of the first due time that is not before `time`."""
        return -((self.phase - time) // self.interval)

    def at_or_before(self, time: int) -> int:
        return (time - self.phase) // self.interval


class GridSchedule:
    """Owned by the poller's task; in place of `Schedule`."""

    def __init__(
        self,
        clock: Clock,
        limit: Callable[[], int | None],
        begun: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`limit`: ticks that are due at or after this time (ms) are not given out yet. `begun` is told of each that is."""
        self._clock: Final = clock
        self._limit: Final = limit
        self._begun: Final = begun
        self._grids: Final[dict[str, Grid]] = {}
        self._next: Final[dict[str, int]] = {}
        self.boundary: int | None = None
        """New sources are due from here on; if None, from when they are arranged."""

    def arrange(
        self,
        sources: Mapping[str, PollingSource],
        now: float,
        due: Mapping[str, float] | None = None,  # noqa: ARG002 - the grid says it
    ) -> None:
        """Poll these from now on; `now` is monotonic. A source that is polled by the same grid goes on."""
        start = self._wall_ms(now) if self.boundary is None else self.boundary
        for name in [each for each in self._grids if each not in sources]:
            del self._grids[name], self._next[name]
        for name, source in sources.items():
            grid = Grid.of(name, source)
            if self._grids.get(name) != grid:
                self._grids[name], self._next[name] = grid, grid.at_or_after(start)

    def due(self) -> dict[str, float]:
        """When each source is due next, in monotonic seconds."""
        return {name: self._monotonic(grid.due(self._next[name])) for name, grid in self._grids.items()}

    @property
    def next_due(self) -> float | None:
        """None while all that is due next has to wait for the limit."""
        first = min((grid.due(self._next[name]) for name, grid in self._grids.items()), default=None)
        limit = self._limit()
        return None if first is None or (limit is not None and first >= limit) else self._monotonic(first)

    def take(self, now: float) -> Iterable[Tick]:
        """What is due by now and before the limit, the earliest first."""
        limit, end = self._limit(), self._wall_ms(now)
        return self._taken(end if limit is None else min(end, limit - 1))

    def _taken(self, end: int) -> list[Tick]:
        found: list[tuple[int, str, int]] = []
        for name, grid in self._grids.items():
            first, last = self._next[name], grid.at_or_before(end)
            if last >= first:
                self._next[name] = last + 1
                self._begun(grid.due(last))
                found.append((grid.due(last), name, last - first))
        return [
            Tick(name, self._monotonic(due), missed, at=due / 1000) for due, name, missed in sorted(found)
        ]

    def _wall_ms(self, now: float) -> int:
        return int((self._clock.wall() + (now - self._clock.now())) * 1000)

    def _monotonic(self, due: int) -> float:
        return self._clock.now() + (due / 1000 - self._clock.wall())
