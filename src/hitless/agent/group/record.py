"""The one document that a group agrees on, changed by compare-and-set only: who polls what by which configuration, from when."""

from __future__ import annotations

from typing import Literal

from hitless.agent.definition import Value
from hitless.agent.group.member import Member

OUTCOMES_KEPT = 50


class Assignment(Value):
    """Ticks that are due at or after `at`, and before the next assignment's, belong to these members."""

    number: int
    at: int
    """The boundary: Unix time in milliseconds."""
    members: tuple[Member, ...]
    epoch: int
    config: str
    """Hash of the configuration."""


class Change(Value):
    """The assignment that is to be next. It holds once it is committed, and only ticks from its boundary on."""

    phase: Literal["arming", "committed"]
    attempt: int
    """Counts boundaries: when one comes too near before everybody has promised to keep to it, another one is set."""
    next: Assignment

    @property
    def at(self) -> int:
        return self.next.at


class Draft(Value):
    """An epoch that is being prepared."""

    epoch: int
    config: str
    by: str
    expires: int
    """Unix time in milliseconds: who has not answered by then holds it up no longer."""


class EpochOutcome(Value):
    """How an epoch ended."""

    epoch: int
    config: str
    status: Literal["committed", "refused", "timed_out", "abandoned"]
    who: str = ""
    """Whose doing it was."""
    why: str = ""
    by: str = ""
    at: int = 0


class Record(Value):
    numbers: int = 0
    """The last number that was given to an assignment."""
    epochs: int = 0
    """The last number that was given to an epoch."""
    before: Assignment | None = None
    """For those whose clocks are behind."""
    assignment: Assignment | None = None
    change: Change | None = None
    draft: Draft | None = None
    outcomes: tuple[EpochOutcome, ...] = ()
    """The latest ones, the last one last."""

    def at(self, due: int) -> Assignment | None:
        """The assignment that a tick due at this time (ms) belongs to, as far as this record knows."""
        found = [self.before, self.assignment]
        if self.change is not None and self.change.phase == "committed":
            found.append(self.change.next)
        return next((each for each in reversed(found) if each is not None and each.at <= due), None)

    def outcome_of(self, epoch: int) -> EpochOutcome | None:
        return next((each for each in self.outcomes if each.epoch == epoch), None)

    def ended(self, outcome: EpochOutcome) -> tuple[EpochOutcome, ...]:
        return (*self.outcomes, outcome)[-OUTCOMES_KEPT:]
