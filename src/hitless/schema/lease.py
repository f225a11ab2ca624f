"""One schema change at a time: an advisory lock of the session that does the work, and a lease that says who has it.

Two things, because neither is enough alone. The advisory lock ends with its session, and the server keeps the
session until a statement that a dead client left behind has ended: whoever gets the lock finds nothing still
running. But it is local to one server of a cluster, proxies that share sessions lose it, and SQLite has none.
The lease is a row that everybody sees, says who and what for, and runs out when nobody renews it.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from hitless.change import Deadline
from hitless.change.process import identity, is_alive
from hitless.schema.database import Database
from hitless.schema.dialect import PROGRAM
from hitless.schema.errors import Busy, LeaseLost, Rejected, SchemaError
from hitless.schema.ledger import LEASE, Ledger

RENEWALS: Final = 3
"""Renewals per lease: two may fail before it runs out."""
LOOK_S: Final = 0.1


class Lease:
    """The right to change the schema, for as long as `check` does not raise."""

    def __init__(self, database: Database, *, name: str, seconds: float) -> None:
        self._database: Final = database
        self._name: Final = name
        self._seconds: Final = seconds
        self._token: Final = secrets.token_hex(16)
        self._lost = ""
        self._stop: Final = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, connection: Connection, purpose: str) -> None:
        """Take it, or raise Busy. The ledger's tables must exist."""
        with connection.begin():
            now = Ledger(connection, self._database.dialect).now()
            row = connection.execute(select(LEASE).where(LEASE.c.name == self._name)).mappings().first()
            if row is not None and _is_held(row, now):
                raise Busy("busy", _held_by(row, now))
            connection.execute(delete(LEASE).where(LEASE.c.name == self._name))
            connection.execute(insert(LEASE).values(**self._row(purpose, now)))
        if self._database.dialect.name != "sqlite":  # there, whether the process lives is all that counts
            self._thread = threading.Thread(target=self._renew, name="hitless-lease", daemon=True)
            self._thread.start()

    def check(self) -> None:
        """Raises LeaseLost if somebody else may have it by now."""
        if self._lost:
            raise LeaseLost(self._lost)

    def wait(self, seconds: float) -> None:
        """Let time pass; raises LeaseLost as soon as it is lost."""
        self._stop.wait(seconds)
        self.check()

    def confirm(self, connection: Connection) -> None:
        """In the transaction that is about to commit: the row is still ours."""
        self.check()
        token = connection.execute(select(LEASE.c.token).where(LEASE.c.name == self._name)).scalar()
        if token != self._token:
            self._lose("another runner has taken the lease; look at: hitless db status")
            self.check()

    def release(self, connection: Connection) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(DBAPIError), connection.begin():
            connection.execute(
                delete(LEASE).where((LEASE.c.name == self._name) & (LEASE.c.token == self._token))
            )

    def _row(self, purpose: str, now: float) -> dict[str, object]:
        return {
            "name": self._name,
            "token": self._token,
            "holder": whoami(),
            "process": identity() or "",
            "purpose": purpose,
            "acquired_at": now,
            "expires_at": now + self._seconds,
        }

    def _renew(self) -> None:
        """Until it is given up. Several attempts fit into one lease; when none succeeds it is taken for lost."""
        last = time.monotonic()
        while not self._stop.wait(self._seconds / RENEWALS):
            try:
                renewed = self._renewed()
            except (SchemaError, DBAPIError):
                if time.monotonic() - last > self._seconds:
                    self._lose(
                        "the lease could not be renewed in time, so somebody else may have it; run it again"
                    )
                    return
                continue
            if not renewed:
                self._lose("another runner has taken the lease; look at: hitless db status")
                return
            last = time.monotonic()

    def _renewed(self) -> bool:
        with self._database.connect() as connection, connection.begin():
            now = Ledger(connection, self._database.dialect).now()
            ours = (LEASE.c.name == self._name) & (LEASE.c.token == self._token)
            done = connection.execute(update(LEASE).where(ours).values(expires_at=now + self._seconds))
            return done.rowcount == 1

    def _lose(self, why: str) -> None:
        self._lost = why
        self._stop.set()


@contextmanager
def held(
    database: Database, *, name: str, seconds: float, purpose: str
) -> Iterator[tuple[Connection, Lease]]:
    """A session that has the lock and the lease, and the lease.

    Raises:
        Busy: another runner has it.
        Unreachable: the database does not answer.
    """
    with database.connect() as connection:
        _lock(database, connection, name, seconds)
        lease = Lease(database, name=name, seconds=seconds)
        try:
            with connection.begin():
                Ledger(connection, database.dialect).create()
            lease.acquire(connection, purpose)
            try:
                yield connection, lease
            finally:
                if connection.in_transaction():
                    connection.rollback()
                lease.release(connection)
        finally:
            # The session ends now and takes the lock with it; this is for proxies that keep sessions alive.
            with suppress(DBAPIError), connection.begin():
                database.dialect.unlock(connection, f"hitless.{name}")


@contextmanager
def alone(database: Database, *, name: str, wait_s: float) -> Iterator[None]:
    """Only the advisory lock, and nobody else connected: for replacing the database, leases and all.

    Raises:
        Busy: another runner has the lock.
        Rejected: others are still connected after `wait_s` seconds.
    """
    with database.connect() as connection:
        _lock(database, connection, name, wait_s)
        try:
            with connection.begin():
                holder = current_holder(connection, database, name)
            if holder is not None:
                raise Busy("busy", holder)
            _wait_until_alone(database, connection, wait_s)
            yield
            with connection.begin():  # the backup was taken under a lease, which came back with it
                connection.execute(delete(LEASE).where(LEASE.c.name == name))
        finally:
            with suppress(DBAPIError), connection.begin():
                database.dialect.unlock(connection, f"hitless.{name}")


def _wait_until_alone(database: Database, connection: Connection, wait_s: float) -> None:
    """A session that has been closed takes the server a moment, and there is nothing that tells when it is gone."""
    deadline = Deadline.after(wait_s)
    while True:
        with connection.begin():
            others = [each for each in database.dialect.sessions(connection) if each.name != PROGRAM]
        if not others:
            return
        if deadline.expired:
            raise Rejected("in_use", f"{others[0]} still uses the database; stop it before restoring")
        time.sleep(LOOK_S)


def whoami() -> str:
    """`user@host pid N`, for people."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


def current_holder(connection: Connection, database: Database, name: str) -> str | None:
    """A sentence about who changes the schema now, or None."""
    ledger = Ledger(connection, database.dialect)
    if not ledger.exists:
        return None
    row = connection.execute(select(LEASE).where(LEASE.c.name == name)).mappings().first()
    now = ledger.now()
    return _held_by(row, now) if row is not None and _is_held(row, now) else None


def _lock(database: Database, connection: Connection, name: str, seconds: float) -> None:
    """The advisory lock: at once, or, where no living runner can be seen, when the server has done with a dead one."""
    for wait_s in (0.0, seconds):
        with connection.begin():
            if database.dialect.try_lock(connection, f"hitless.{name}", wait_s):
                return
        with connection.begin():
            holder = current_holder(connection, database, name)
        if holder is not None:
            raise Busy("busy", holder)
    raise Busy(
        "busy",
        "another session has the lock of this database's schema changes, and no lease says whose it is; perhaps the server"
        " has not ended a statement of a runner that died: look at its sessions, or try again",
    )


def _is_held(row: Any, now: float) -> bool:
    """Whether its holder may still be at work. A process of this machine can be seen to live or not."""
    on_this_boot = (identity() or "").partition(":")[0]
    if row["process"] and row["process"].partition(":")[0] == on_this_boot:
        return is_alive(row["process"])
    return bool(row["expires_at"] > now)


def _held_by(row: Any, now: float) -> str:
    since = max(0.0, now - row["acquired_at"])
    return f"{row['holder']} has been at {row['purpose']} for {since:.0f} s; wait until it has ended"
