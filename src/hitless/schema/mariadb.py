"""MariaDB and MySQL: every definition commits at once, lock timeouts in whole seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from hitless.schema.dialect import Dialect, Session, error_codes

LOCK_ERRORS: Final = (1205, 1213, 3572)
"""Lock wait timeout, deadlock, NOWAIT."""
GONE_ERRORS: Final = (2002, 2003, 2005, 2006, 2013, 1053, 1045, 1049, 1044)
SESSIONS: Final = """
SELECT p.ID, p.USER, p.HOST FROM information_schema.PROCESSLIST p
WHERE p.DB = DATABASE() AND p.ID <> CONNECTION_ID() ORDER BY p.ID
"""
NAMES: Final = """
SELECT PROCESSLIST_ID, ATTR_VALUE FROM performance_schema.session_connect_attrs WHERE ATTR_NAME = 'program_name'
"""
RUNNING: Final = """
SELECT count(*) FROM information_schema.PROCESSLIST
WHERE COMMAND IN ('Query', 'Execute') AND ID <> CONNECTION_ID()
"""
TRIGGERS: Final = "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()"
NAME_LIMIT: Final = 64
"""Characters of the name of an advisory lock."""


class MariaDB(Dialect):
    name = "mysql"
    title = "MariaDB"
    is_transactional: ClassVar[bool] = False
    has_sessions: ClassVar[bool] = True

    def connect_args(self, connect_timeout_s: float, program: str) -> Mapping[str, Any]:
        return {"connect_timeout": max(1, math.ceil(connect_timeout_s)), "program_name": program}

    def engine_options(self) -> Mapping[str, Any]:
        # Batches must not lock the gaps between rows, where others insert.
        return {"isolation_level": "READ COMMITTED"}

    def set_timeouts(self, connection: Connection, *, lock_s: float, statement_s: float) -> None:
        seconds = max(1, int(lock_s))  # never longer than asked for, except below the smallest that there is
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {seconds}")
        connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {seconds}")
        if connection.dialect.is_mariadb:  # type: ignore[attr-defined]
            connection.exec_driver_sql(f"SET SESSION max_statement_time = {max(1.0, statement_s):f}")

    def try_lock(self, connection: Connection, name: str, wait_s: float) -> bool:
        values = {"name": name[-NAME_LIMIT:], "wait": math.ceil(wait_s)}
        return connection.execute(text("SELECT GET_LOCK(:name, :wait)"), values).scalar() == 1

    def unlock(self, connection: Connection, name: str) -> None:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name[-NAME_LIMIT:]})

    def now(self) -> str:
        return "(UNIX_TIMESTAMP(SYSDATE(6)) + 0e0)"

    def triggers(self, connection: Connection) -> Iterable[str]:
        return connection.execute(text(TRIGGERS)).scalars().all()

    def is_lock_timeout(self, error: DBAPIError) -> bool:
        return error_codes(error)[2] in LOCK_ERRORS

    def is_unreachable(self, error: DBAPIError) -> bool:
        return error.connection_invalidated or error_codes(error)[2] in GONE_ERRORS

    def sessions(self, connection: Connection) -> tuple[Session, ...]:
        # The connection attributes are there only when performance_schema is on; else the user is all that tells.
        has_names = bool(connection.execute(text("SELECT @@performance_schema")).scalar())
        names = {int(row[0]): str(row[1]) for row in connection.execute(text(NAMES))} if has_names else {}
        return tuple(
            Session(str(id_), names.get(int(id_), ""), user, address)
            for id_, user, address in connection.execute(text(SESSIONS))
        )

    def running(self, connection: Connection) -> int:
        return int(connection.execute(text(RUNNING)).scalar() or 0)

    def lag(self, connection: Connection) -> float | None:
        """How far this server is behind its own source: asked of the replicas, a source does not know."""
        row = connection.execute(text("SHOW SLAVE STATUS")).mappings().first()
        if row is None:
            return None
        behind = row.get("Seconds_Behind_Master")
        return math.inf if behind is None else float(behind)

    def quote(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def differs(self, left: str, right: str) -> str:
        return f"NOT ({left} <=> {right})"
