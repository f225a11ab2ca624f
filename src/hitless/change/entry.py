"""Rows of the journal, as values."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from hitless.change.wire import JSON


@dataclass(frozen=True, slots=True)
class Applied:
    """The settings that were last applied, for a rollback after a restart."""

    change: int
    at: float
    generation: int
    hash: str
    settings: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Drained:
    """How the work of the replaced generation ended."""

    finished: int
    handed_over: int
    cut: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempted change."""

    id: int
    at: float
    """When it began (Unix time)."""
    requested_by: str
    plan: Mapping[str, JSON]
    status: str
    """A `Status`, or `open` while it goes on, or `interrupted` if its process died."""
    generation: int | None
    reason: str | None
    message: str
    detail: str
    finished_at: float | None
    timings: Mapping[str, float]
    drained: Drained | None

    def to_json(self) -> dict[str, JSON]:
        drained = self.drained
        return {
            "id": self.id,
            "at": self.at,
            "requested_by": self.requested_by,
            "plan": self.plan,
            "status": self.status,
            "generation": self.generation,
            "reason": self.reason,
            "message": self.message,
            "detail": self.detail,
            "finished_at": self.finished_at,
            "timings": self.timings,
            "drained": None
            if drained is None
            else {
                "finished": drained.finished,
                "handed_over": drained.handed_over,
                "cut": drained.cut,
                "seconds": drained.seconds,
            },
        }


def to_entry(row: sqlite3.Row) -> Entry:
    drained = json.loads(row["drained"]) if row["drained"] else None
    return Entry(
        id=row["id"],
        at=row["at"],
        requested_by=row["requested_by"],
        plan=json.loads(row["plan"]),
        status=row["status"] or "open",
        generation=row["generation"],
        reason=row["reason"],
        message=row["message"] or "",
        detail=row["detail"] or "",
        finished_at=row["finished_at"],
        timings=json.loads(row["timings"] or "{}"),
        drained=Drained(**drained) if drained else None,
    )
