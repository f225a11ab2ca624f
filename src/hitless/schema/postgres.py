"""PostgreSQL: transactional definitions, lock timeouts in milliseconds, sessions that say who they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from hitless.schema.dialect import Dialect, Session, error_codes

LOCK_STATES: Final = ("55P03", "40P01", "40001")
SESSIONS: Final = """
SELECT pid::text, coalesce(application_name, ''), coalesce(usename, ''), coalesce(host(client_addr), '')
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY pid
"""
RUNNING: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
TRIGGERS: Final = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
INVALID: Final = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND pg_table_is_visible(c.oid)
"""


class PostgreSQL(Dialect):
    name = "postgresql"
    title = "PostgreSQL"
    is_transactional: ClassVar[bool] = True
    has_sessions: ClassVar[bool] = True

    def connect_args(self, connect_timeout_s: float, program: str) -> Mapping[str, Any]:
        return {"connect_timeout": max(1, round(connect_timeout_s)), "application_name": program}

    def set_timeouts(self, connection: Connection, *, lock_s: float, statement_s: float) -> None:
        connection.exec_driver_sql(f"SET lock_timeout = {_ms(lock_s)}")
        connection.exec_driver_sql(f"SET statement_timeout = {_ms(statement_s)}")
        # A runner that hangs in the middle must not keep its locks for ever.
        connection.exec_driver_sql(f"SET idle_in_transaction_session_timeout = {_ms(max(60.0, statement_s))}")

    def try_lock(self, connection: Connection, name: str, wait_s: float) -> bool:
        if wait_s <= 0:
            query = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
            return bool(connection.execute(query, {"name": name}).scalar())
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_ms(wait_s)}")
        try:
            with connection.begin_nested():
                connection.execute(
                    text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": name}
                )
        except DBAPIError as error:
            if self.is_lock_timeout(error):
                return False
            raise
        return True

    def unlock(self, connection: Connection, name: str) -> None:
        connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), {"name": name})

    def now(self) -> str:
        return "extract(epoch from clock_timestamp())::double precision"

    def triggers(self, connection: Connection) -> Iterable[str]:
        return connection.execute(text(TRIGGERS)).scalars().all()

    def is_lock_timeout(self, error: DBAPIError) -> bool:
        return error_codes(error)[0] in LOCK_STATES

    def is_unreachable(self, error: DBAPIError) -> bool:
        return error.connection_invalidated or (
            isinstance(error, OperationalError) and error_codes(error)[0] in (None, "57P01", "57P03")
        )

    def sessions(self, connection: Connection) -> tuple[Session, ...]:
        return tuple(Session(*row) for row in connection.execute(text(SESSIONS)))

    def running(self, connection: Connection) -> int:
        return int(connection.execute(text(RUNNING)).scalar() or 0)

    def lag(self, connection: Connection) -> float | None:
        query = text("SELECT extract(epoch from max(replay_lag))::double precision FROM pg_stat_replication")
        found = connection.execute(query).scalar()
        return None if found is None else float(found)

    def invalid_indexes(self, connection: Connection) -> tuple[str, ...]:
        return tuple(connection.execute(text(INVALID)).scalars())


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
