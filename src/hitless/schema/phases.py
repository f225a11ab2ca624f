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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hitless.schema.errors import LockTimeout, Rejected
from hitless.schema.gates import NEVER_FORCED, Gates, violations
from hitless.schema.lease import Lease
from hitless.schema.ledger import Ledger
from hitless.schema.listener import Listener
from hitless.schema.migration import Migration
from hitless.schema.project import Branch, Project, Release
from hitless.schema.recorder import Recorder
from hitless.schema.report import Report, State
from hitless.schema.runs import Detail, Runs
from hitless.schema.settings import DbSettings
from hitless.schema.state import look, open_migrations
from hitless.schema.upgrade import Before, Upgrade, heads
from hitless.schema.usage import Gate, Usage, measure


class Phases(Runs):
    """What `hitless db` does; blocking.

    Every method raises SchemaError or one of its kinds: Busy if another change is in progress, Unreachable if the
    database does not answer, Rejected if something must be done first.
    """

    def __init__(self, settings: DbSettings, folder: Path = Path(), listener: Listener | None = None) -> None:
        super().__init__(settings, folder, listener)
        self._project: Project | None = None

    @property
    def project(self) -> Project:
        """The migrations' folder, read when it is first needed."""
        if self._project is None:
            self._project = Project(self.folder / self.settings.migrations)
        return self._project

    def status(self, release: str | None = None) -> State:
        return look(self.database, self.project, self._release(release), self.settings.service)

    def gates(
        self, release: str | None = None, inventory: Mapping[str, str] | None = None
    ) -> tuple[Gate, ...]:
        """Whether contract would begin, and what is missing; nothing is changed."""
        with self.database.reading() as connection:
            return self._measure(connection, self._release(release), inventory)

    def expand(self, release: str | None = None) -> Report:
        """Add what the release needs, and those before it; the old release goes on running on it."""
        target = self._release(release)
        wanted = [each.expand[-1].id for each in self.project.up_to(target) if each.expand]
        with self._run("expand", target.name) as (connection, lease, detail):
            return self._upgrade("expand", target, wanted, connection, lease, detail, _nothing)

    def migrate(self, release: str | None = None) -> Report:
        """Run the data migrations of all releases up to this one that are not contracted yet, oldest first."""
        target = self._release(release)
        began = time.monotonic()
        with self._run("migrate", target.name) as (connection, lease, detail):
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
        self,
        release: str | None = None,
        *,
        force: Sequence[str] = (),
        inventory: Mapping[str, str] | None = None,
    ) -> Report:
        """Remove what only older releases need. There is no way back but the backup.

        Raises:
            Rejected: a gate does not hold and is not named in `force`; nothing was changed.
        """
        target = self._release(release)
        wanted = [each.contract[-1].id for each in self.project.up_to(target) if each.contract]
        with self._run("contract", target.name) as (connection, lease, detail):

            def pass_gates() -> tuple[str, ...]:
                return self._passed(self._measure(connection, target, inventory), force, NEVER_FORCED, detail)

            forced = pass_gates()
            check = _nothing if "assertions" in forced else self._assert_again
            report = self._upgrade("contract", target, wanted, connection, lease, detail, check, pass_gates)
            return replace(report, forced=forced)

    def _release(self, name: str | None) -> Release:
        return self.project.release(name or self.settings.release)

    def _measure(
        self, connection: Connection, release: Release, inventory: Mapping[str, str] | None
    ) -> tuple[Gate, ...]:
        names = [each.name for each in self.project.releases]
        usage = Usage(
            connection, self.database.dialect, settings=self.settings, release=release.name,
            later=names[names.index(release.name) + 1 :], inventory=inventory,
        )  # fmt: skip
        gates = Gates(connection, self.database.dialect, project=self.project, release=release)
        return measure(connection, (*gates.looks(), *usage.looks()))

    def _assert_again(self, connection: Connection, revision: str) -> None:
        """In the revision's own transaction: what destroys is preceded by the check that would fail after it."""
        if revision in Ledger(connection, self.database.dialect).begun_revisions():
            return  # it goes on from the middle, and what it asserts about may be gone
        for about, query in self.project.revisions[revision].assertions.items():
            if found := violations(connection, query):
                raise Rejected("assertion_failed", f"{revision} asserts {about!r}; found: {found}")

    def _upgrade(
        self, branch: Branch, target: Release, wanted: Sequence[str], connection: Connection, lease: Lease,
        detail: Detail, before: Before, again: Callable[[], object] = tuple,
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
                if attempts > 1:
                    again()  # whoever was let through meanwhile may have been an old node
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


def _nothing(connection: Connection, revision: str) -> None:
    pass
