"""The phases of one service's database: expand, migrate, contract, each on its own, each verified, one at a time.

Guarantees:

1. One phase at a time for a database, whoever asks and from wherever; the others are told who is at it.
2. Every phase can be run again after any crash, and then does what is left.
3. No phase holds other users of a table up for longer than `locks.timeout` per attempt.
4. Contract removes nothing before all of its gates have been measured and hold, or were overridden by name.
5. Every attempt is a row of the ledger, in the database itself: who, when, what ran, what was overridden, how it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hitless.change import JSON
from hitless.schema import backup as backups
from hitless.schema.database import Database
from hitless.schema.errors import Invalid, LockTimeout, Rejected, SchemaError
from hitless.schema.gates import NEVER_FORCED, Gate, Gates, violations
from hitless.schema.lease import Lease, held, whoami
from hitless.schema.ledger import Ledger, Run
from hitless.schema.listener import Listener
from hitless.schema.migration import Migration
from hitless.schema.project import Branch, Project, Release
from hitless.schema.recorder import Recorder
from hitless.schema.report import Phase, Report, State
from hitless.schema.settings import DbSettings
from hitless.schema.state import look, open_migrations
from hitless.schema.upgrade import Before, Upgrade, heads

Detail = dict[str, JSON]


class Phases:
    """What `hitless db` does; blocking.

    Every method raises SchemaError or one of its kinds: Busy if another change is in progress, Unreachable if the
    database does not answer, Rejected if something must be done first.
    """

    def __init__(self, settings: DbSettings, folder: Path = Path(), listener: Listener | None = None) -> None:
        self.settings: Final = settings
        self.folder: Final = folder
        self.database: Final = Database(
            settings.url.get_secret_value(), connect_timeout_s=settings.connect_timeout
        )
        self._listener: Final = listener or Listener()
        self._project: Project | None = None

    @property
    def project(self) -> Project:
        """The migrations' folder, read when it is first needed."""
        if self._project is None:
            self._project = Project(self.folder / self.settings.migrations)
        return self._project

    def status(self, release: str | None = None) -> State:
        return look(self.database, self.project, self._release(release), self.settings.service)

    def history(self, limit: int = 20) -> tuple[Run, ...]:
        """The last runs, newest first; none if hitless never ran here."""
        with self.database.reading() as connection:
            ledger = Ledger(connection, self.database.dialect)
            return ledger.runs(limit) if ledger.exists else ()

    def gates(self, release: str | None = None, inventory: Mapping[str, str] | None = None) -> tuple[Gate, ...]:
        """Whether contract would begin, and what is missing; nothing is changed."""
        with self.database.reading() as connection:
            return self._measure(connection, self._release(release), inventory)

    def expand(self, release: str | None = None) -> Report:
        """Add what the release needs, and those before it; the old release goes on running on it."""
        target = self._release(release)
        wanted = [each.expand[-1].id for each in self.project.up_to(target) if each.expand]
        with self._run("expand", target) as (connection, lease, detail):
            return self._upgrade("expand", target, wanted, connection, lease, detail, _nothing)

    def migrate(self, release: str | None = None) -> Report:
        """Run the data migrations of all releases up to this one that are not contracted yet, oldest first."""
        target = self._release(release)
        began = time.monotonic()
        with self._run("migrate", target) as (connection, lease, detail):
            with connection.begin():
                applied = self.project.ancestors(heads(connection))
                contracted = applied | Ledger(connection, self.database.dialect).begun_revisions()
            releases = self.project.up_to(target)
            missing = [r.id for each in releases for r in each.expand if r.id not in applied]
            if missing:
                raise Rejected("needs_expand", f"{missing[0]} has not run yet; run: hitless db expand")
            rows: dict[str, int] = {}
            detail["rows"] = rows
            for migration in tuple(open_migrations(releases, contracted)):
                run = Migration(
                    connection, migration, database=self.database, lease=lease, settings=self.settings,
                    listener=self._listener,
                )  # fmt: skip
                with self.database.explained():
                    rows[migration.name] = run.run()
            return Report(phase="migrate", release=target.name, rows=rows, seconds=time.monotonic() - began)

    def contract(
        self, release: str | None = None, *, force: Sequence[str] = (), inventory: Mapping[str, str] | None = None
    ) -> Report:
        """Remove what only older releases need. There is no way back but the backup.

        Raises:
            Rejected: a gate does not hold and is not named in `force`; nothing was changed.
        """
        target = self._release(release)
        wanted = [each.contract[-1].id for each in self.project.up_to(target) if each.contract]
        with self._run("contract", target) as (connection, lease, detail):
            forced = self._pass_gates(connection, target, force, inventory, detail)
            check = _nothing if "assertions" in forced else self._assert_again
            report = self._upgrade("contract", target, wanted, connection, lease, detail, check)
            return replace(report, forced=forced)

    def backup(self) -> backups.Backup:
        """Take a backup and write it into the ledger, whence the gate of contract knows it."""
        with self._run("backup", None) as (connection, _, detail):
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
        with self.database.connect() as connection:
            others = [each for each in self.database.dialect.sessions(connection) if each.name != "hitless db"]
        if others:
            raise Rejected("in_use", f"{others[0]} still uses the database; stop it before restoring")
        backups.restore(self.database, path, timeout_s=self.settings.backup.timeout)
        with self._run("restore", None) as (_, _, detail):
            detail["path"] = str(path)

    def resolve(self, revision: str, position: int, *, happened: bool) -> None:
        """Write down whether an interrupted statement took effect, where the schema does not tell."""
        with held(
            self.database, name=self.settings.service, seconds=self.settings.locks.lease, purpose="resolve"
        ) as (connection, _), connection.begin():
            Ledger(connection, self.database.dialect).resolve(revision, position, happened=happened)

    def _release(self, name: str | None) -> Release:
        return self.project.release(name or self.settings.release)

    def _measure(
        self, connection: Connection, release: Release, inventory: Mapping[str, str] | None
    ) -> tuple[Gate, ...]:
        gates = Gates(
            connection, self.database.dialect, project=self.project, release=release, settings=self.settings,
            inventory=inventory,
        )  # fmt: skip
        return gates.measure()

    def _pass_gates(
        self, connection: Connection, release: Release, force: Sequence[str], inventory: Mapping[str, str] | None,
        detail: Detail,
    ) -> tuple[str, ...]:  # fmt: skip
        gates = self._measure(connection, release, inventory)
        detail["gates"] = [gate.to_json() for gate in gates]
        known = [gate.name for gate in gates if gate.name not in NEVER_FORCED]
        for name in force:
            if name not in known:
                raise Invalid("unknown_gate", f"there is no gate {name} that could be overridden; there are: {', '.join(known)}")
        closed = [gate for gate in gates if not gate.holds and gate.name not in force]
        if closed:
            told = "; ".join(f"{gate.name}: {gate.message}" for gate in closed)
            raise Rejected("gate_closed", f"contract would not be safe: {told}")
        forced = tuple(gate.name for gate in gates if not gate.holds)
        detail["forced"] = list(forced)
        for name in forced:
            self._listener.note(f"the gate {name} does not hold and is overridden")
        return forced

    def _assert_again(self, connection: Connection, revision: str) -> None:
        """In the revision's own transaction: what destroys is preceded by the check that would fail after it."""
        if revision in Ledger(connection, self.database.dialect).begun_revisions():
            return  # it goes on from the middle, and what it asserts about may be gone
        for about, query in self.project.revisions[revision].assertions.items():
            if found := violations(connection, query):
                raise Rejected("assertion_failed", f"{revision} asserts {about!r}; found: {found}")

    def _upgrade(
        self, branch: Branch, target: Release, wanted: Sequence[str], connection: Connection, lease: Lease,
        detail: Detail, before: Before,
    ) -> Report:  # fmt: skip
        began = time.monotonic()
        upgrade = Upgrade(self.database, self.project, branch)
        recorder = Recorder(self.database, lease, lock_timeout_s=self.settings.locks.timeout)
        attempts = 0
        with connection.begin():
            planned = steps = upgrade.steps(heads(connection), wanted)
        while steps:
            attempts += 1
            try:
                upgrade.run(connection, recorder, steps, self._told(before))
            except LockTimeout as error:
                self._pause(connection, lease, error, attempts)
            finally:
                steps = self._left(connection, upgrade, wanted, steps)
                done = tuple(step for step in planned if step not in steps)
                detail |= {"revisions": list(done), "attempts": attempts, "passed_over": recorder.passed_over}
        return Report(
            phase=branch,
            release=target.name,
            revisions=planned,
            passed_over=recorder.passed_over,
            attempts=max(1, attempts),
            seconds=time.monotonic() - began,
        )

    def _left(
        self, connection: Connection, upgrade: Upgrade, wanted: Sequence[str], steps: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The revisions that have still to run; all of them if the database cannot be asked any more."""
        with suppress(DBAPIError):
            if connection.in_transaction():
                connection.rollback()
            with connection.begin():
                return upgrade.steps(heads(connection), wanted)
        return steps

    def _told(self, before: Before) -> Before:
        def tell(connection: Connection, revision: str) -> None:
            self._listener.note(f"{revision}: {self.project.revisions[revision].about}")
            before(connection, revision)

        return tell

    def _pause(self, connection: Connection, lease: Lease, error: LockTimeout, attempts: int) -> None:
        """Let those pass who waited behind us, then try again."""
        if connection.in_transaction():
            connection.rollback()
        locks = self.settings.locks
        if attempts >= locks.attempts:
            raise LockTimeout(
                "lock_timeout",
                f"a table stayed in use through {attempts} attempts of {locks.timeout:g} s; look for long transactions, and run"
                f" it again ({error.message})",
            ) from error
        pause_s = min(locks.max_pause, locks.pause * 2 ** (attempts - 1))
        self._listener.note(f"a table is in use; attempt {attempts + 1} of {locks.attempts} in {pause_s:g} s")
        lease.wait(pause_s)

    @contextmanager
    def _run(self, phase: Phase, release: Release | None) -> Iterator[tuple[Connection, Lease, Detail]]:
        """The session that has the lock, and a row of the ledger around what is done with it."""
        settings = self.settings
        detail: Detail = {}
        with held(self.database, name=settings.service, seconds=settings.locks.lease, purpose=phase) as (db, lease):
            ledger = Ledger(db, self.database.dialect)
            locks = settings.locks
            self.database.dialect.set_timeouts(db, lock_s=locks.timeout, statement_s=locks.statement_timeout)
            db.commit()
            with db.begin():
                run = ledger.begin(phase, release.name if release else "", whoami(), {})
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


def _nothing(connection: Connection, revision: str) -> None:
    pass
