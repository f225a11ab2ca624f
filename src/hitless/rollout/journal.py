"""What was planned, begun and done, kept where the next runner finds it.

The journal is a hint: it says what was tried and what to look at, never what is so. It lives in a file of SQLite in the
state directory, or in the service's own database; both are reached the same way. Every write is a transaction of its own,
so that a runner that is killed leaves either the row before or the row after.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    inspect,
    select,
    update,
)  # fmt: skip

from hitless.change import JSON
from hitless.rollout.errors import RolloutError, Unreachable
from hitless.rollout.plan import Plan
from hitless.schema.database import Database
from hitless.schema.errors import SchemaError
from hitless.schema.errors import Unreachable as DatabaseUnreachable

LONG: Final = 1 << 24
"""A plan of hundreds of nodes does not fit into a TEXT of MariaDB, which is 64 KiB."""
EVENTS_KEPT: Final = 20_000
OPEN: Final = ("running", "paused")
METADATA: Final = MetaData()
ROLLOUT: Final = Table(
    "hitless_rollout",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("service", String(64), nullable=False),
    Column("direction", String(16), nullable=False),
    Column("release_name", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("who", String(255), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("reason", String(64)),
    Column("message", Text, nullable=False),
    Column("wish", String(16)),
    Column("plan", Text(LONG), nullable=False),
)
STEP: Final = Table(
    "hitless_rollout_step",
    METADATA,
    Column("rollout", Integer, primary_key=True),
    Column("step", String(160), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("note", Text, nullable=False),
)
EVENT: Final = Table(
    "hitless_rollout_event",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("rollout", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("name", String(64), nullable=False),
    Column("fields", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class StepRow:
    """What the journal says of a step."""

    state: str
    """`running`, `done`, `seen` (it was so when we looked), or `failed`."""
    attempts: int
    started_at: float | None
    finished_at: float | None
    note: str
    """What it waits for, what proved it, or why it failed."""

    def to_json(self) -> dict[str, JSON]:
        return {
            "state": self.state,
            "attempts": self.attempts,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One rollout."""

    id: int
    service: str
    direction: str
    release: str
    status: str
    """`running`, `paused`, `done`, `aborted`, or `rolled_back`."""
    who: str
    started_at: float
    finished_at: float | None
    reason: str | None
    """Why it is paused; a stable label."""
    message: str
    wish: str | None
    """What was asked of its runner: `pause` or `abort`."""
    plan: Plan

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    def to_json(self) -> dict[str, JSON]:
        return {
            "id": self.id,
            "service": self.service,
            "direction": self.direction,
            "release": self.release,
            "before": self.plan.before,
            "status": self.status,
            "who": self.who,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "reason": self.reason,
            "message": self.message,
            "wish": self.wish,
        }


class Journal:
    """Blocking. Raises RolloutError if it cannot be written, Unreachable if its database does not answer."""

    def __init__(self, database: Database) -> None:
        self.database: Final = database

    def create(self) -> None:
        with self._writing() as db:
            METADATA.create_all(db)

    def begin(self, plan: Plan, who: str) -> int:
        """Write a new rollout down; returns its number."""
        values = {
            "service": plan.service,
            "direction": plan.direction,
            "release_name": plan.release,
            "status": "running",
            "who": who,
            "started_at": time.time(),
            "message": "",
            "plan": json.dumps(plan.to_json()),
        }
        with self._writing() as db:
            done = db.execute(insert(ROLLOUT).values(**values))
            number = int((done.inserted_primary_key or (0,))[0])
            _tell(
                db,
                number,
                "rollout.begun",
                {"release": plan.release, "direction": plan.direction, "who": who},
            )
            return number

    def resume(self, rollout: int, who: str) -> None:
        self._update(rollout, "resumed", who=who, status="running", reason=None, message="", wish=None)

    def pause(self, rollout: int, *, reason: str, message: str) -> None:
        self._update(rollout, "paused", status="paused", reason=reason, message=message, wish=None)

    def finish(self, rollout: int, status: str, message: str) -> None:
        """It is over: `done`, `aborted` or `rolled_back`."""
        self._update(
            rollout, status, status=status, reason=None, message=message, wish=None, finished_at=time.time()
        )

    def wish(self, rollout: int, wish: str) -> None:
        """Ask its runner for something."""
        self._update(rollout, "asked", wish=wish)

    def wished(self, rollout: int) -> str | None:
        with self._reading() as db:
            return db.execute(select(ROLLOUT.c.wish).where(ROLLOUT.c.id == rollout)).scalar()

    def step(self, rollout: int, step: str, state: str, note: str = "") -> None:
        """Write down that a step begins, or how it ended."""
        now = time.time()
        where = (STEP.c.rollout == rollout) & (STEP.c.step == step)
        with self._writing() as db:
            attempts = db.execute(select(STEP.c.attempts).where(where)).scalar()
            values: dict[str, Any] = {"state": state, "note": note}
            if state == "running":
                values |= {"started_at": now, "finished_at": None, "attempts": (attempts or 0) + 1}
            else:
                values |= {"finished_at": now}
            if attempts is None:
                db.execute(insert(STEP).values({"rollout": rollout, "step": step, "attempts": 0} | values))
            else:
                db.execute(update(STEP).where(where).values(**values))
            _tell(db, rollout, f"step.{state}", {"step": step, "note": note})

    def note(self, rollout: int, notes: Mapping[str, str]) -> None:
        """What steps wait for."""
        with self._writing() as db:
            for step, note in notes.items():
                where = (STEP.c.rollout == rollout) & (STEP.c.step == step) & (STEP.c.state == "running")
                db.execute(update(STEP).where(where).values(note=note))

    def steps(self, rollout: int) -> Mapping[str, StepRow]:
        with self._reading() as db:
            rows = db.execute(select(STEP).where(STEP.c.rollout == rollout)).mappings()
            return {
                row["step"]: StepRow(
                    row["state"], row["attempts"], row["started_at"], row["finished_at"], row["note"]
                )
                for row in rows
            }

    def rollouts(self, service: str, limit: int = 20) -> tuple[RolloutRow, ...]:
        """The last ones, newest first; none if nothing was ever rolled out here."""
        with self._reading() as db:
            if not inspect(db).has_table(ROLLOUT.name):
                return ()
            find = select(ROLLOUT).where(ROLLOUT.c.service == service).order_by(ROLLOUT.c.id.desc())
            return tuple(_row(row) for row in db.execute(find.limit(limit)).mappings())

    def last(self, service: str) -> RolloutRow | None:
        return next(iter(self.rollouts(service, 1)), None)

    def events(self, rollout: int) -> Sequence[Mapping[str, JSON]]:
        """What happened, oldest first, at most EVENTS_KEPT of the last."""
        with self._reading() as db:
            last = db.execute(select(func.max(EVENT.c.id)).where(EVENT.c.rollout == rollout)).scalar() or 0
            find = select(EVENT).where((EVENT.c.rollout == rollout) & (EVENT.c.id > last - EVENTS_KEPT))
            rows = db.execute(find.order_by(EVENT.c.id)).mappings()
            return [
                {"at": row["at"], "name": row["name"], "fields": json.loads(row["fields"])} for row in rows
            ]

    def _update(self, rollout: int, verb: str, **values: Any) -> None:
        told = {
            name: value
            for name, value in values.items()
            if name in ("reason", "message", "wish", "who") and value
        }
        with self._writing() as db:
            db.execute(update(ROLLOUT).where(ROLLOUT.c.id == rollout).values(**values))
            _tell(db, rollout, f"rollout.{verb}", told)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._explained(), self.database.connect() as db, db.begin():
            yield db

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._explained(), self.database.reading() as db, db.begin():
            yield db

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DatabaseUnreachable as error:
            raise Unreachable(
                "journal_unreachable", f"the journal cannot be used: {error.message}"
            ) from error
        except SchemaError as error:
            raise RolloutError("journal_failed", f"the journal cannot be used: {error.message}") from error


def _tell(db: Connection, rollout: int, name: str, fields: Mapping[str, JSON]) -> None:
    db.execute(insert(EVENT).values(rollout=rollout, at=time.time(), name=name, fields=json.dumps(fields)))


def _row(row: Any) -> RolloutRow:
    return RolloutRow(
        id=row["id"],
        service=row["service"],
        direction=row["direction"],
        release=row["release_name"],
        status=row["status"],
        who=row["who"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        reason=row["reason"],
        message=row["message"],
        wish=row["wish"],
        plan=Plan.from_json(json.loads(row["plan"])),
    )
