"""One attempt to change the schema: the session that has the lock, and a row of the ledger around what is done with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hitless.change import JSON
from hitless.schema import backup as backups
from hitless.schema.database import Database
from hitless.schema.errors import Invalid, Rejected, SchemaError
from hitless.schema.lease import Lease, alone, held, whoami
from hitless.schema.ledger import Ledger, Run
from hitless.schema.listener import Listener
from hitless.schema.report import Phase
from hitless.schema.settings import DbSettings
from hitless.schema.upgrade import heads
from hitless.schema.usage import Gate

Detail = dict[str, JSON]


class Runs:
    """What is the same whoever makes the phases: lock, ledger, backups."""

    def __init__(self, settings: DbSettings, folder: Path = Path(), listener: Listener | None = None) -> None:
        self.settings: Final = settings
        self.folder: Final = folder
        self.database: Final = Database(
            settings.url.get_secret_value(), connect_timeout_s=settings.connect_timeout
        )
        self._listener: Final = listener or Listener()

    def history(self, limit: int = 20) -> tuple[Run, ...]:
        """The last runs, newest first; none if hitless never ran here."""
        with self.database.reading() as connection:
            ledger = Ledger(connection, self.database.dialect)
            return ledger.runs(limit) if ledger.exists else ()

    def backup(self) -> backups.Backup:
        """Take a backup and write it into the ledger, whence the gate of contract knows it."""
        with self._run("backup", "") as (connection, _, detail):
            taken = backups.take(
                self.database,
                self.folder / self.settings.backup.folder,
                service=self.settings.service,
                timeout_s=self.settings.backup.timeout,
            )
            detail |= {"path": str(taken.path), "size": taken.size}
            with connection.begin():
                ledger = Ledger(connection, self.database.dialect)
                at = heads(connection)
                ledger.add_backup(str(taken.path), size=taken.size, sha256=taken.sha256, heads=at)
            return taken

    def restore(self, path: Path) -> None:
        """Bring the database back to a backup. The ledger comes back with it; stop the service's nodes first."""
        with alone(self.database, name=self.settings.service, wait_s=self.settings.connect_timeout):
            backups.restore(self.database, path, timeout_s=self.settings.backup.timeout)
        with self._run("restore", "") as (_, _, detail):
            detail["path"] = str(path)

    def resolve(self, revision: str, position: int, *, happened: bool) -> None:
        """Write down whether an interrupted statement took effect, where the schema does not tell."""
        with (
            held(
                self.database,
                name=self.settings.service,
                seconds=self.settings.locks.lease,
                purpose="resolve",
            ) as (connection, _),
            connection.begin(),
        ):
            Ledger(connection, self.database.dialect).resolve(revision, position, happened=happened)

    def _passed(
        self, gates: Sequence[Gate], force: Sequence[str], never: Sequence[str], detail: Detail
    ) -> tuple[str, ...]:
        """The gates that were overridden.

        Raises:
            Rejected: one does not hold and is not named.
            Invalid: a name is that of no gate.
        """
        detail["gates"] = [gate.to_json() for gate in gates]
        known = [gate.name for gate in gates if gate.name not in never]
        for name in force:
            if name not in known:
                raise Invalid(
                    "unknown_gate",
                    f"there is no gate {name} that could be overridden; there are: {', '.join(known)}",
                )
        closed = [gate for gate in gates if not gate.holds and gate.name not in force]
        if closed:
            told = "; ".join(f"{gate.name}: {gate.message}" for gate in closed)
            raise Rejected("gate_closed", f"contract would not be safe: {told}")
        forced = tuple(gate.name for gate in gates if not gate.holds)
        detail["forced"] = list(forced)
        for name in forced:
            self._listener.note(f"the gate {name} does not hold and is overridden")
        return forced

    @contextmanager
    def _run(self, phase: Phase, release: str) -> Iterator[tuple[Connection, Lease, Detail]]:
        """The session that has the lock, and a row of the ledger around what is done with it."""
        settings = self.settings
        detail: Detail = {}
        with held(self.database, name=settings.service, seconds=settings.locks.lease, purpose=phase) as (
            db,
            lease,
        ):
            ledger = Ledger(db, self.database.dialect)
            locks = settings.locks
            self.database.dialect.set_timeouts(db, lock_s=locks.timeout, statement_s=locks.statement_timeout)
            db.commit()
            with db.begin():
                run = ledger.begin(phase, release, whoami(), {})
            try:
                yield db, lease, detail
            except BaseException as error:
                detail["error"] = str(error) or type(error).__name__
                detail["reason"] = getattr(error, "reason", "interrupted")
                status = "rejected" if isinstance(error, Rejected) else "failed"
                with suppress(DBAPIError, SchemaError):
                    self._close(db, ledger, run, status, detail)
                raise
            self._close(db, ledger, run, "done", detail)

    def _close(self, db: Connection, ledger: Ledger, run: int, status: str, detail: Detail) -> None:
        if db.in_transaction():
            db.rollback()
        with db.begin():
            ledger.finish(run, status, detail)
