"""The catalogue's database, if it is PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from volumes.driver import VolumeError

if TYPE_CHECKING:
    from volumes.catalog import Step

CONNECT_S = 10


class Postgresql:
    """One connection; another one is made when it has been lost."""

    Error = psycopg.Error

    def __init__(self, url: str) -> None:
        self._url = url
        self._db = self._connected()

    def run(self, steps: Sequence[Step]) -> bool:
        with self._alive().transaction() as transaction:
            for each in steps:
                found = self._db.execute(_marked(each.statement), each.values)
                if each.needed and not found.rowcount:
                    raise psycopg.Rollback(transaction)
            return True
        return False

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._alive().execute(_marked(statement), values).fetchall()

    def close(self) -> None:
        self._db.close()

    def _alive(self) -> psycopg.Connection[Any]:
        if self._db.closed:
            self._db = self._connected()
        return self._db

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_S)


def connected(url: str) -> Postgresql:
    """Raises VolumeError: the database cannot be reached."""
    try:
        return Postgresql(url)
    except psycopg.Error as error:
        raise VolumeError(f"the catalogue cannot be reached: {error}") from error


def _marked(statement: str) -> bytes:
    """With PostgreSQL's marks for values."""
    return statement.replace("?", "%s").encode()
