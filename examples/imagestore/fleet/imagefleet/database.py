"""Sessions of the catalogue. Each says which release it belongs to, so that the database can tell who is left of an old one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

Result = TypeVar("Result")

NAMED_BY: Final = {"postgresql": "application_name", "mysql": "program_name"}
CONFLICTS: Final = ("1213", "1205", "40P01", "40001")
"""Deadlocks and lock timeouts: the transaction was rolled back and is to be tried again."""
ATTEMPTS: Final = 5


def engine_of(url: str, program: str) -> Engine:
    """A pool of named sessions."""
    kind = make_url(url).get_backend_name()
    named = {NAMED_BY[kind]: program} if kind in NAMED_BY else {}
    if kind == "sqlite":
        engine = create_engine(url, connect_args={"timeout": 30.0})
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    return create_engine(
        url, connect_args=named, isolation_level="READ COMMITTED", pool_size=8, max_overflow=32
    )


def transaction(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    """`work` in a transaction; again, if it met another one on its way."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if attempt == ATTEMPTS or not _is_conflict(error):
                raise
    raise AssertionError("the last attempt returns or raises")


def _is_conflict(error: DBAPIError) -> bool:
    arguments = getattr(error.orig, "args", ())
    said = {str(getattr(error.orig, "sqlstate", "")), str(arguments[0]) if arguments else ""}
    return bool(said & set(CONFLICTS))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
