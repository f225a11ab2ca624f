"""Runs data migrations: batches in transactions of their own, each with its checkpoint, until nothing is pending."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hitless.change import JSON
from hitless.schema.backfill import Batch
from hitless.schema.database import Database
from hitless.schema.errors import Late, LockTimeout, SchemaError
from hitless.schema.lease import Lease
from hitless.schema.ledger import Ledger
from hitless.schema.listener import Listener, Progress
from hitless.schema.project import DataMigration
from hitless.schema.settings import DbSettings
from hitless.schema.state import ask
from hitless.schema.throttle import Throttle


class Migration:
    """One run of one data migration over a session that has the lock."""

    def __init__(
        self, connection: Connection, migration: DataMigration, *, database: Database, lease: Lease,
        settings: DbSettings, listener: Listener,
    ) -> None:  # fmt: skip
        self._db: Final = connection
        self._migration: Final = migration
        self._dialect: Final = database.dialect
        self._lease: Final = lease
        self._settings: Final = settings
        self._listener: Final = listener
        self._ledger: Final = Ledger(connection, database.dialect)
        replicas = [Database(url.get_secret_value()) for url in settings.backfill.replicas]
        self._throttle: Final = Throttle(
            settings.backfill, database.dialect, wait=lease.wait, replicas=replicas
        )
        self._began: Final = time.monotonic()
        self._total: int | None = None
        self._rows = 0
        self._before = 0

    def run(self) -> int:
        """Move rows until none is pending; returns how many were moved now.

        Raises:
            SchemaError: rows are still pending after all passes, `migrate` moves none of them, or the throttle never opens.
            LockTimeout: rows stayed locked through all attempts.
            LeaseLost: somebody else may be at it.
        """
        checkpoint = self._open()
        waiting = self._pending()
        self._total = None if isinstance(waiting, bool) else waiting
        for number in range(self._settings.backfill.passes):
            if not waiting:
                break
            if number:
                self._listener.note(
                    f"{self._migration.name}: {_rows(waiting)} appeared or were missed; pass {number + 1}"
                )
            self._pass(checkpoint, waiting)
            checkpoint = {}
            waiting = self._pending()
        if waiting:
            raise SchemaError(
                "still_pending",
                f"{self._migration.name}: {_rows(waiting)} still wait after {self._settings.backfill.passes} passes; does the old"
                " release go on to write such rows? keep the columns in step by triggers (DualWrite), or raise backfill.passes",
            )
        with self._db.begin():
            self._lease.confirm(self._db)
            self._ledger.finish_data(self._migration.name)
        return self._rows

    def _open(self) -> Mapping[str, JSON]:
        with self._db.begin():
            state = self._ledger.begin_data(self._migration.name, self._migration.release)
        self._before = state.done
        return state.checkpoint

    def _pending(self) -> int | bool:
        self._lease.check()
        with self._db.begin():
            return ask(self._db, self._migration)

    def _pass(self, checkpoint: Mapping[str, JSON], waiting: int | bool) -> None:
        """From the checkpoint to the key that was the last one when the pass began; with code of its own, until as many
        rows were moved as waited then. So it ends however fast others add rows."""
        moved = 0
        while not self._is_enough(moved, waiting):
            self._check_deadline()
            with self._db.begin():
                self._throttle.hold(self._db, self._held)
            began = time.monotonic()
            batch = self._batch(checkpoint)
            if not batch.keys:
                return
            checkpoint = batch.checkpoint
            self._rows += batch.rows
            moved += batch.rows
            self._tell()
            self._throttle.after(batch.rows, time.monotonic() - began)

    def _is_enough(self, moved: int, waiting: int | bool) -> bool:
        return self._migration.backfill is None and not isinstance(waiting, bool) and moved >= waiting

    def _check_deadline(self) -> None:
        limit_s = self._settings.backfill.deadline
        if time.monotonic() - self._began > limit_s:
            raise Late(
                "deadline",
                f"{self._migration.name} has not ended within {limit_s:g} s; what was moved stays moved: run it again,"
                " or raise backfill.deadline",
            )

    def _batch(self, checkpoint: Mapping[str, JSON]) -> Batch:
        """One batch, again if rows were locked, with fewer rows each time."""
        locks = self._settings.locks
        for attempt in range(1, locks.attempts + 1):
            try:
                return self._attempt(checkpoint)
            except DBAPIError as error:
                if not self._dialect.is_lock_timeout(error):
                    raise
                self._throttle.batch = max(1, self._throttle.batch // 2)
                if attempt < locks.attempts:
                    self._lease.wait(min(locks.max_pause, locks.pause * 2 ** (attempt - 1)))
        raise LockTimeout(
            "lock_timeout",
            f"{self._migration.name}: rows stayed locked through {locks.attempts} attempts;"
            " what was moved stays moved: run it again",
        )

    def _attempt(self, checkpoint: Mapping[str, JSON]) -> Batch:
        migration = self._migration
        with self._db.begin():
            if migration.backfill is not None:
                batch = migration.backfill.run(self._db, self._throttle.batch, checkpoint)
            else:
                batch = self._own(self._throttle.batch)
            if batch.keys:
                self._ledger.checkpoint(
                    migration.name, batch.checkpoint, self._before + self._rows + batch.rows
                )
            self._lease.confirm(self._db)
        return batch

    def _own(self, size: int) -> Batch:
        """A batch of the migration's own code, which finds its rows itself."""
        assert self._migration.migrate is not None
        rows = self._migration.migrate(self._db, size)
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
            raise SchemaError(
                "migrate_failed",
                f"{self._migration.path}: migrate() must return the number of rows it moved, not {rows!r}",
            )
        return Batch(rows, rows, {})

    def _tell(self, held_by: str = "") -> None:
        seconds = time.monotonic() - self._began
        rate = self._rows / seconds if seconds > 0 else 0.0
        self._listener.progress(Progress(self._migration.name, self._rows, self._total, rate, held_by))

    def _held(self, why: str) -> None:
        self._tell(why)


def _rows(waiting: int | bool) -> str:
    return "rows" if isinstance(waiting, bool) else f"{waiting} rows"
