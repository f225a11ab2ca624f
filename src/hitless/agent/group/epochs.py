"""An operator's side of configuration epochs: look at a group, and propose what it is to poll by next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from hitless.agent.group.coordinator import Coordinator, GroupError, Sight
from hitless.agent.group.document import Document
from hitless.agent.group.options import GroupSettings
from hitless.agent.group.places import coordinator
from hitless.agent.group.protocol import EpochInProgress, propose
from hitless.agent.group.record import EpochOutcome
from hitless.agent.group.share import now_ms
from hitless.agent.group.state import GroupState

TRIES: Final = 20
LOOK_S: Final = 0.1


class NoMembers(GroupError):
    """Nobody is there who could prepare an epoch."""


class NotDecided(GroupError):
    """The members did not come to an end in time."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What became of it."""

    status: Literal["committed", "unchanged", "refused", "timed_out", "abandoned"]
    epoch: int
    config: str
    who: str = ""
    why: str = ""
    behind: tuple[str, ...] = ()
    """Members that had not put it in force when this was said."""


@contextmanager
def met(settings: GroupSettings) -> Iterator[Coordinator]:
    """Raises GroupError."""
    place = coordinator(settings)
    try:
        yield place
    finally:
        place.close()


def look(settings: GroupSettings) -> GroupState:
    """Raises GroupError: the place where it meets cannot be reached."""
    with met(settings) as place:
        return GroupState.of(settings.name, place.look())


def propose_epoch(
    settings: GroupSettings,
    document: Document,
    *,
    by: str,
    timeout_s: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Proposal:
    """Propose, and wait until it is in force everywhere or has ended otherwise.

    Raises:
        NoMembers, EpochInProgress, NotDecided, GroupError: the place where it meets cannot be reached.
    """
    end = time.monotonic() + timeout_s
    with met(settings) as place:
        place.put(document.hash, document.text)
        epoch = _proposed(place, settings, document.hash, by)
        if epoch is None:
            return Proposal("unchanged", place.look().record.epochs, document.hash)
        tell(f"epoch {epoch} is proposed")
        outcome = _outcome(place, epoch, end)
        if outcome.status != "committed":
            return Proposal(outcome.status, epoch, document.hash, outcome.who, outcome.why)
        tell(f"epoch {epoch} is committed")
        return Proposal("committed", epoch, document.hash, behind=_behind(place, epoch, end))


def _proposed(place: Coordinator, settings: GroupSettings, config: str, by: str) -> int | None:
    """The number of the epoch; None if the group polls by it already."""
    for _ in range(TRIES):
        sight = place.look()
        assignment = sight.record.assignment
        if not sight.registers:
            raise NoMembers(
                f"group {settings.name} has no member at the moment; start one: hitless agent run"
            )
        if assignment is not None and assignment.config == config and sight.record.draft is None:
            return None
        record = propose(sight.record, config, by=by, now=now_ms(), rules=settings.rules)
        if place.write(record, sight.version):
            return record.epochs
    raise GroupError(f"the record of group {settings.name} changes all the time; try again")


def _outcome(place: Coordinator, epoch: int, end: float) -> EpochOutcome:
    while True:
        outcome = place.look().record.outcome_of(epoch)
        if outcome is not None:
            return outcome
        if time.monotonic() > end:
            raise NotDecided(f"epoch {epoch} is not decided yet; see hitless agent epoch status")
        time.sleep(LOOK_S)


def _behind(place: Coordinator, epoch: int, end: float) -> tuple[str, ...]:
    """Members with a share that do not poll by it when the time is over; nobody, as soon as all do."""
    while True:
        sight = place.look()
        behind = _not_yet(sight, epoch)
        if not behind or time.monotonic() > end:
            return behind
        time.sleep(LOOK_S)


def _not_yet(sight: Sight, epoch: int) -> tuple[str, ...]:
    change, assignment = sight.record.change, sight.record.assignment
    following = assignment if change is None or change.next.epoch < epoch else change.next
    members = () if following is None else following.members
    there = [sight.registers[each.id] for each in members if each.id in sight.registers]
    return tuple(each.member.name for each in there if each.epoch < epoch)


__all__ = ["EpochInProgress", "NoMembers", "NotDecided", "Proposal", "look", "propose_epoch"]
