"""What a phase did, and what state the database is in, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hitless.change import JSON

Phase = Literal["expand", "migrate", "contract", "backup", "restore"]
PHASES: tuple[Phase, ...] = ("expand", "migrate", "contract")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The end of one phase that did what was asked."""

    phase: Phase
    release: str
    revisions: tuple[str, ...] = ()
    """That ran now."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows that were moved now, by data migration."""
    passed_over: int = 0
    """Statements that an earlier, interrupted run had done."""
    attempts: int = 1
    forced: tuple[str, ...] = ()
    """Gates that did not hold and were overridden by name."""
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        return bool(self.revisions) or any(self.rows.values())

    def to_json(self) -> dict[str, JSON]:
        return {
            "phase": self.phase,
            "release": self.release,
            "revisions": list(self.revisions),
            "rows": dict(self.rows),
            "passed_over": self.passed_over,
            "attempts": self.attempts,
            "forced": list(self.forced),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the database is at, and what comes next on the way to a release."""

    release: str
    heads: tuple[str, ...]
    expand: tuple[str, ...]
    """Revisions that have not run yet."""
    pending: Mapping[str, int | bool]
    """Data migrations of releases that are not contracted: rows that wait, or whether any do."""
    unknown: tuple[str, ...]
    """Data migrations that cannot be asked before expand has run."""
    contract: tuple[str, ...]
    interrupted: int = 0
    """Statements of which nobody knows how they ended."""
    skipped: tuple[str, ...] = ()
    """Data migrations of contracted releases that never ran to their end here."""
    holder: str | None = None
    """Who changes the schema at this moment."""

    @property
    def next(self) -> Phase | None:
        if self.expand:
            return "expand"
        if any(self.pending.values()):
            return "migrate"
        return "contract" if self.contract else None

    def to_json(self) -> dict[str, JSON]:
        return {
            "release": self.release,
            "heads": list(self.heads),
            "next": self.next,
            "expand": list(self.expand),
            "pending": dict(self.pending),
            "unknown": list(self.unknown),
            "contract": list(self.contract),
            "interrupted": self.interrupted,
            "skipped": list(self.skipped),
            "holder": self.holder,
        }
