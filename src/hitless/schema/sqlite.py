"""SQLite: one file, one writer at a time, transactional definitions once the driver stops meddling."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from hitless.schema.dialect import Dialect, error_codes

UNUSABLE = ("SQLITE_CANTOPEN", "SQLITE_NOTADB", "SQLITE_CORRUPT")


class SQLite(Dialect):
    name = "sqlite"
    title = "SQLite"
    is_transactional: ClassVar[bool] = True
    has_sessions: ClassVar[bool] = False

    def connect_args(self, connect_timeout_s: float, program: str) -> Mapping[str, Any]:  # noqa: ARG002
        return {"timeout": connect_timeout_s}

    def prepare(self, engine: Engine) -> None:
        """Transactions that hold definitions too: Python's driver would commit before them (and a transaction that
        begins by reading could not always go on to write, hence IMMEDIATE)."""

        @event.listens_for(engine, "connect")
        def leave_it_to_us(connection: sqlite3.Connection, record: object) -> None:  # noqa: ARG001
            connection.isolation_level = None
            connection.execute("PRAGMA foreign_keys = ON")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            if connection.get_execution_options().get("hitless_reads"):
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("BEGIN IMMEDIATE")

    def set_timeouts(self, connection: Connection, *, lock_s: float, statement_s: float) -> None:  # noqa: ARG002
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {max(1, int(lock_s * 1000))}")

    def try_lock(self, connection: Connection, name: str, wait_s: float) -> bool:  # noqa: ARG002
        return True  # the lease alone: everybody is on this machine, and whether they live can be seen

    def unlock(self, connection: Connection, name: str) -> None:
        pass

    def now(self) -> str:
        return "((julianday('now') - 2440587.5) * 86400.0)"

    def triggers(self, connection: Connection) -> Iterable[str]:
        return (
            connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        )

    def is_lock_timeout(self, error: DBAPIError) -> bool:
        return any(str(code).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) for code in error_codes(error))

    def is_unreachable(self, error: DBAPIError) -> bool:
        return any(str(code).startswith(UNUSABLE) for code in error_codes(error))

    def differs(self, left: str, right: str) -> str:
        return f"{left} IS NOT {right}"
