"""What is told of a change: that it begins, and how it ended. Secrets are in neither."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hitless.change import JSON, Event

BEGINNING: Final = "change.started"
ENDINGS: Final[Mapping[str, str]] = {
    "change.committed": "applied",
    "change.unchanged": "unchanged",
    "change.rejected": "rejected",
    "change.rolled_back": "rolled_back",
}
"""Events that end a change, and the status that each of them means."""


class Phase(StrEnum):
    START = "start"
    END = "end"
    """What was asked for is so."""
    ERROR = "error"
    """The change was rejected or rolled back; what served before still does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    service: str
    host: str
    at: float
    """Unix time."""
    phase: Phase
    kind: str
    """`reload`, `rollback`, `scale`, `upgrade`, `start`."""
    change: int | None
    """Number of the journal's row: the same in the start and in the end of a change."""
    from_generation: int
    to_generation: int
    requested_by: str
    differences: tuple[JSON, ...]
    """`{"key": …, "old": …, "new": …}` for each setting; `***` stands for a secret."""
    status: str | None = None
    """How it ended: `applied`, `unchanged`, `rejected`, `rolled_back`."""
    reason: str | None = None
    message: str = ""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """The same in every attempt to deliver it."""

    @property
    def event_type(self) -> str:
        """As OpenStack services name notifications: `service.reload.start`."""
        return f"service.{self.kind}.{self.phase}"

    def to_json(self) -> dict[str, JSON]:
        return {
            "id": self.id,
            "event_type": self.event_type,
            "service": self.service,
            "host": self.host,
            "at": self.at,
            "kind": self.kind,
            "change": self.change,
            "from_generation": self.from_generation,
            "to_generation": self.to_generation,
            "requested_by": self.requested_by,
            "differences": list(self.differences),
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
        }


def beginning(event: Event, *, service: str, host: str) -> Notice:
    """The notice of a `change.started`."""
    found = event.fields
    differences = found.get("differences")
    return Notice(
        service=service,
        host=host,
        at=event.at,
        phase=Phase.START,
        kind=str(found["kind"]),
        change=_number(found.get("change")),
        from_generation=_number(found["from_generation"]) or 0,
        to_generation=_number(found["to_generation"]) or 0,
        requested_by=str(found.get("requested_by") or ""),
        differences=tuple(differences) if isinstance(differences, list | tuple) else (),
    )


def ending(event: Event, start: Notice) -> Notice:
    """The notice of how the change ended whose start was told."""
    status, reason = ENDINGS[event.name], event.fields.get("reason")
    return Notice(
        service=start.service,
        host=start.host,
        at=event.at,
        phase=Phase.END if status in ("applied", "unchanged") else Phase.ERROR,
        kind=start.kind,
        change=start.change,
        from_generation=start.from_generation,
        to_generation=start.to_generation,
        requested_by=start.requested_by,
        differences=start.differences,
        status=status,
        reason=None if reason is None else str(reason),
        message=str(event.fields.get("message") or ""),
    )


def _number(value: JSON) -> int | None:
    return value if isinstance(value, int) else None
