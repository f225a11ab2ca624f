"""The ledger: what ran in this database, kept in the database itself, so that it is backed up, restored and replicated with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)

from hitless.change import JSON
from hitless.schema.dialect import Dialect
from hitless.schema.errors import Invalid

PREFIX: Final = "hitless_"
METADATA: Final = MetaData()
RUN: Final = Table(
    "hitless_run",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("phase", String(16), nullable=False),
    Column("release_name", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("who", String(255), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("detail", Text, nullable=False),
)
STATEMENT: Final = Table(
    "hitless_statement",
    METADATA,
    Column("revision", String(64), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("nth", Integer, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Double, nullable=False),
)
DATA: Final = Table(
    "hitless_data",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("release_name", String(64), nullable=False),
    Column("state", String(8), nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
)
LEASE: Final = Table(
    "hitless_lease",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("token", String(64), nullable=False),
    Column("holder", String(255), nullable=False),
    Column("process", String(128), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("acquired_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)
NODE: Final = Table(
    "hitless_node",
    METADATA,
    Column("service", String(128), primary_key=True),
    Column("node", String(128), primary_key=True),
    Column("release_name", String(64), nullable=False),
    Column("at", Double, nullable=False),
)
BACKUP: Final = Table(
    "hitless_backup",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("heads", Text, nullable=False),
    Column("taken_at", Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One attempted phase."""

    id: int
    phase: str
    release: str
    status: str
    """`running`, `done`, `failed`, or `interrupted` if its runner died."""
    who: str
    started_at: float
    finished_at: float | None
    detail: Mapping[str, JSON]

    def to_json(self) -> dict[str, JSON]:
        return {
            "id": self.id,
            "phase": self.phase,
            "release": self.release,
            "status": self.status,
            "who": self.who,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class DataState:
    """How far a data migration is."""

    name: str
    release: str
    is_done: bool
    checkpoint: Mapping[str, JSON]
    done: int
    """Rows, over all its runs."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    node: str
    release: str
    age_s: float


@dataclass(frozen=True, slots=True)
class BackupRow:
    path: str
    size: int
    sha256: str
    age_s: float


class Ledger:
    """Reads and writes the tables over one connection; the caller's transaction is the ledger's."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self._db: Final = connection
        self._dialect: Final = dialect

    def create(self) -> None:
        METADATA.create_all(self._db)

    @property
    def exists(self) -> bool:
        return inspect(self._db).has_table(RUN.name)

    def now(self) -> float:
        """The database's clock, in seconds since 1970."""
        return float(self._db.execute(text(f"SELECT {self._dialect.now()}")).scalar_one())

    def begin(self, phase: str, release: str, who: str, detail: Mapping[str, JSON]) -> int:
        """Write that a run begins; whatever was still open belongs to runners that are gone, for we have the lock."""
        now = self.now()
        self._db.execute(
            update(RUN).where(RUN.c.status == "running").values(status="interrupted", finished_at=now)
        )
        values = {"phase": phase, "release_name": release, "status": "running", "who": who, "started_at": now}
        done = self._db.execute(insert(RUN).values(**values, detail=json.dumps(detail)))
        return int((done.inserted_primary_key or (0,))[0])

    def finish(self, run: int, status: str, detail: Mapping[str, JSON]) -> None:
        values = {"status": status, "finished_at": self.now(), "detail": json.dumps(detail)}
        self._db.execute(update(RUN).where(RUN.c.id == run).values(**values))

    def runs(self, limit: int = 20) -> tuple[Run, ...]:
        """The last runs, newest first."""
        rows = self._db.execute(select(RUN).order_by(RUN.c.id.desc()).limit(limit)).mappings()
        return tuple(
            Run(
                id=row["id"],
                phase=row["phase"],
                release=row["release_name"],
                status=row["status"],
                who=row["who"],
                started_at=row["started_at"],
                finished_at=row["finished_at"],
                detail=json.loads(row["detail"]),
            )
            for row in rows
        )

    def data(self) -> Mapping[str, DataState]:
        """Every data migration that has ever run here."""
        found = {}
        for row in self._db.execute(select(DATA)).mappings():
            found[row["name"]] = DataState(
                row["name"],
                row["release_name"],
                row["state"] == "done",
                json.loads(row["checkpoint"]),
                row["done"],
            )
        return found

    def begin_data(self, name: str, release: str) -> DataState:
        """The row of a data migration, made if there is none."""
        known = self.data().get(name)
        if known is None:
            known = DataState(name, release, False, {}, 0)
            values = {"name": name, "release_name": release, "state": "open", "checkpoint": "{}", "done": 0}
            self._db.execute(insert(DATA).values(**values, started_at=self.now()))
        return known

    def checkpoint(self, name: str, checkpoint: Mapping[str, JSON], done: int) -> None:
        values = {"checkpoint": json.dumps(checkpoint), "done": done, "state": "open"}
        self._db.execute(update(DATA).where(DATA.c.name == name).values(**values))

    def finish_data(self, name: str) -> None:
        values = {"state": "done", "finished_at": self.now(), "checkpoint": "{}"}
        self._db.execute(update(DATA).where(DATA.c.name == name).values(**values))

    def heartbeats(self, service: str) -> tuple[Heartbeat, ...]:
        now = self.now()
        rows = self._db.execute(
            select(NODE).where(NODE.c.service == service).order_by(NODE.c.node)
        ).mappings()
        return tuple(Heartbeat(row["node"], row["release_name"], now - row["at"]) for row in rows)

    def beat(self, service: str, node: str, release: str) -> None:
        """Write that this node runs this release now."""
        where = (NODE.c.service == service) & (NODE.c.node == node)
        values = {"release_name": release, "at": self.now()}
        if not self._db.execute(update(NODE).where(where).values(**values)).rowcount:
            self._db.execute(insert(NODE).values(service=service, node=node, **values))

    def forget(self, service: str, node: str) -> None:
        self._db.execute(delete(NODE).where((NODE.c.service == service) & (NODE.c.node == node)))

    def add_backup(self, path: str, *, size: int, sha256: str, heads: Sequence[str]) -> None:
        values: dict[str, Any] = {
            "path": path,
            "size": size,
            "sha256": sha256,
            "heads": json.dumps(list(heads)),
        }
        self._db.execute(insert(BACKUP).values(**values, taken_at=self.now()))

    def last_backup(self) -> BackupRow | None:
        row = self._db.execute(select(BACKUP).order_by(BACKUP.c.id.desc()).limit(1)).mappings().first()
        if row is None:
            return None
        return BackupRow(row["path"], row["size"], row["sha256"], self.now() - row["taken_at"])

    def resolve(self, revision: str, position: int, *, happened: bool) -> None:
        """Write down how an interrupted statement ended.

        Raises:
            Invalid: there is no such statement.
        """
        where = (
            (STATEMENT.c.revision == revision)
            & (STATEMENT.c.position == position)
            & (STATEMENT.c.state == "begun")
        )
        done = (
            self._db.execute(update(STATEMENT).where(where).values(state="done"))
            if happened
            else self._db.execute(delete(STATEMENT).where(where))
        )
        if not done.rowcount:
            raise Invalid("no_statement", f"statement {position} of revision {revision} was not interrupted")

    def begun_revisions(self) -> frozenset[str]:
        """Revisions of which at least one statement has been run, or begun: the schema is not as before them."""
        return frozenset(self._db.execute(select(STATEMENT.c.revision).distinct()).scalars())

    def open_statements(self) -> int:
        """Statements of which nobody wrote down how they ended."""
        query = select(func.count()).select_from(STATEMENT).where(STATEMENT.c.state == "begun")
        return int(self._db.execute(query).scalar_one())
