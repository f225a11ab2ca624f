"""A member's share, as its poller sees it."""

from __future__ import annotations

import time
from typing import Final

from hitless.agent.group.directory import boottime
from hitless.agent.group.grid import GridSchedule
from hitless.agent.group.knowledge import Knowledge
from hitless.agent.group.member import Member
from hitless.agent.polling.clock import Clock
from hitless.agent.polling.schedule import Timetable

TICKS_KEPT: Final = 1000
KEPT: Final = 200_000
"""Answers; a group with more resources than that works them out again."""


class Share:
    """Owned by the member's event loop. The poller's partition."""

    def __init__(self, me: Member) -> None:
        self.knows = Knowledge(me)
        self.lease_end = 0.0
        """By `boottime`. Nothing is begun after it: the others may have taken over."""
        self._schedule: GridSchedule | None = None
        self._known: Final[dict[int, Knowledge]] = {}
        self._answers: Final[dict[tuple[int, str, str], bool]] = {}

    @property
    def has_lease(self) -> bool:
        return boottime() < self.lease_end

    @property
    def lapsed_at(self) -> float:
        """Unix time since which nothing was begun for want of a lease."""
        return round(time.time() - max(0.0, boottime() - self.lease_end), 3)

    def limit(self) -> int | None:
        """Ticks that are due at or after this time (ms) are not begun."""
        return self.knows.limit() if self.has_lease else 0

    def begin_at(self, boundary: int) -> None:
        """What is arranged next is due from this boundary (ms) on."""
        if self._schedule is not None:
            self._schedule.boundary = boundary

    def schedule(self, clock: Clock) -> Timetable:
        self._schedule = GridSchedule(clock, self.limit, self._begun)
        return self._schedule

    def _begun(self, due: int) -> None:
        """A tick is this member's or not by what it knew when it began it: another assignment, or configuration, may be in force
        when its resources have been found.
        """
        self._known[due] = self.knows
        while len(self._known) > TICKS_KEPT:
            del self._known[next(iter(self._known))]

    def owns(self, group_id: str, resource: str, at: float) -> bool:
        due = round(at * 1000)
        knows = self._known.get(due, self.knows)
        assignment = knows.record.at(due)
        if assignment is None or not knows.share(due):
            return False
        key = (assignment.number, group_id, resource)
        found = self._answers.get(key)
        if found is None:
            if len(self._answers) > KEPT:
                self._answers.clear()
            found = self._answers[key] = knows.owns(group_id, resource, due=due)
        return found


def now_ms() -> int:
    return int(time.time() * 1000)
