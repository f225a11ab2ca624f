"""What differs between two definitions: what a change would start, replace, leave alone and stop. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel

from hitless.agent.definition import Definition
from hitless.agent.notifications.settings import Notifications
from hitless.change import JSON, Difference
from hitless.config import diff, shown

KINDS: Final[Mapping[str, str]] = {
    "polling": "polling source",
    "samples": "pipeline source",
    "sinks": "sink",
    "events": "event source",
    "event_sinks": "event sink",
}
PUBLISHER: Final = "publisher"
EVENTS: Final = "how events are made"


class Move(StrEnum):
    ADDED = "added"
    CHANGED = "changed"
    KEPT = "kept"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Row:
    kind: str
    name: str
    """Of a publisher the URL, without its password."""
    move: Move
    differences: tuple[Difference, ...] = ()
    """Of a changed one, by setting; secrets are masked."""

    def to_json(self) -> dict[str, JSON]:
        return {
            "kind": self.kind,
            "name": self.name,
            "move": self.move.value,
            "differences": [each.to_json() for each in self.differences],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    rows: tuple[Row, ...]

    @property
    def changes_nothing(self) -> bool:
        return all(row.move is Move.KEPT for row in self.rows)

    def only(self, *moves: Move) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.move in moves)

    def counts(self) -> dict[str, int]:
        return {move.value: len(self.only(move)) for move in Move}

    def lines(self) -> tuple[str, ...]:
        """For people: each that does not stay, what differs, and how many stay."""
        if self.changes_nothing:
            return (f"nothing to change; all {len(self.rows)} stay as they are",)
        marks = {Move.ADDED: "+", Move.CHANGED: "~", Move.REMOVED: "-"}
        told = []
        for row in self.only(*marks):
            told.append(f"{marks[row.move]} {row.kind} {row.name}")
            told += [f"    {each}" for each in row.differences]
        kept = len(self.only(Move.KEPT))
        return (*told, *([f"{kept} stay as they are"] if kept else []))

    def to_json(self) -> dict[str, JSON]:
        return {
            "changes_nothing": self.changes_nothing,
            "counts": dict(self.counts()),
            "rows": [row.to_json() for row in self.rows],
        }


def compare(
    old: Definition,
    new: Definition,
    *,
    notifications: tuple[Notifications, Notifications] | None = None,
) -> Comparison:
    """Every source, sink, publisher and listener of both, once. Order, comments and formats of files make no difference."""
    rows: list[Row] = []
    for table, kind in KINDS.items():
        rows += _rows(kind, getattr(old, table), getattr(new, table))
    before, after = old.publishers, new.publishers
    for url in [*after, *(each for each in before if each not in after)]:
        move = Move.KEPT if url in before and url in after else Move.ADDED if url in after else Move.REMOVED
        rows.append(Row(PUBLISHER, str(shown(url)), move))
    if notifications is not None:
        rows += _listening(*notifications)
    return Comparison(tuple(rows))


def _listening(old: Notifications, new: Notifications) -> Iterator[Row]:
    yield from _rows("listener", old.listeners, new.listeners)
    meters = ({each.name: each for each in side.conversion.meters} for side in (old, new))
    yield from _rows("meter definition", *meters)
    # The order of event definitions has a meaning, and they have no names: they are compared as a whole.
    rest = ({EVENTS: side.conversion.model_copy(update={"meters": ()})} for side in (old, new))
    before, after = rest
    if before == after:
        if after[EVENTS].events:
            yield Row("notifications", EVENTS, Move.KEPT)
    else:
        yield Row("notifications", EVENTS, Move.CHANGED)


def _rows(kind: str, old: Mapping[str, BaseModel], new: Mapping[str, BaseModel]) -> Iterator[Row]:
    for name, value in new.items():
        if name not in old:
            yield Row(kind, name, Move.ADDED)
        elif old[name] == value:
            yield Row(kind, name, Move.KEPT)
        else:
            yield Row(kind, name, Move.CHANGED, diff(old[name], value))
    for name in old:
        if name not in new:
            yield Row(kind, name, Move.REMOVED)
