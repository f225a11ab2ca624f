"""The database of a service: how it is reached, and what kind it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from hitless.schema.dialect import PROGRAM, Dialect
from hitless.schema.errors import Invalid, LockTimeout, SchemaError, Unreachable
from hitless.schema.mariadb import MariaDB
from hitless.schema.postgres import PostgreSQL
from hitless.schema.sqlite import SQLite

DRIVERS: Final[Mapping[str, str]] = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
}
DIALECTS: Final[Mapping[str, type[Dialect]]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "mysql": MariaDB,
    "mariadb": MariaDB,
}


class Database:
    """Opens sessions. Nothing is pooled: what is done with them is rare, and settings of a session must not leak.

    Raises:
        Invalid: the URL is none, or names a database or driver that is not known.
    """

    def __init__(self, url: str, *, connect_timeout_s: float = 10.0, program: str = PROGRAM) -> None:
        self.url: Final = read_url(url)
        kind = DIALECTS.get(self.url.get_backend_name())
        if kind is None:
            raise Invalid(
                "unknown_database",
                f"{self.url.get_backend_name()} is no database that hitless knows; use sqlite, postgresql or mysql",
            )
        self.dialect: Final = kind()
        self.engine: Final = self._engine(connect_timeout_s, program)
        self.dialect.prepare(self.engine)

    def _engine(self, connect_timeout_s: float, program: str) -> Engine:
        try:
            return create_engine(
                self.url,
                poolclass=NullPool,
                connect_args=dict(self.dialect.connect_args(connect_timeout_s, program)),
                **self.dialect.engine_options(),
            )
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise Invalid(
                "no_driver",
                f"the driver of {self.url.drivername} is missing ({error}); install it with: pip install 'hitless[schema]'",
            ) from None

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A session of its own, closed at the end.

        Raises:
            Unreachable: the database does not answer, or refuses us.
            LockTimeout: what was needed stayed in use.
            SchemaError: a statement failed; the message is the database's.
        """
        with self.explained(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A session that only looks: on SQLite it does not wait for whoever writes."""
        with self.explained(), self.engine.connect() as connection:
            yield connection.execution_options(hitless_reads=True)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Errors of the driver as ours."""
        try:
            yield
        except DBAPIError as error:
            raise self.explain(error) from error

    def explain(self, error: DBAPIError) -> SchemaError:
        said = " ".join(str(error.orig).split())
        if self.dialect.is_lock_timeout(error):
            return LockTimeout("lock_timeout", f"a table or row that was needed stayed in use: {said}")
        if self.dialect.is_unreachable(error):
            return Unreachable(
                "unreachable", f"cannot reach {self}: {said}; check the url and whether the server runs"
            )
        statement = (error.statement or "").strip()
        return SchemaError("statement_failed", f"the database refused a statement: {said}", statement)

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)


def read_url(url: str) -> URL:
    """The URL with the driver that hitless brings, if it names none."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Invalid(
            "invalid_url", "the url of the database is none; write for example sqlite:///service.db"
        ) from error
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
