"""The catalogue's database, if it is PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from volumes.database import CatalogError, Step

CONNECT_S = 10


class Postgresql:
    """One connection; another one is made when it has been lost."""

    Error = psycopg.Error

    def __init__(self, url: str) -> None:
        """Raises CatalogError: it cannot be reached."""
        self._url = url
        try:
            self._db = self._connected()
        except psycopg.Error as error:
            raise CatalogError(f"the catalogue cannot be reached: {error}") from error

    def run(self, steps: Sequence[Step]) -> bool:
        with self._alive().transaction() as transaction:
            done = all(self._one(each) or not each.needed for each in steps)
            if not done:
                raise psycopg.Rollback(transaction)
        return done

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._alive().execute(_marked(statement), values).fetchall()

    def close(self) -> None:
        self._db.close()

    def _alive(self) -> psycopg.Connection[Any]:
        if self._db.closed:
            self._db = self._connected()
        return self._db

    def _one(self, step: Step) -> int:
        return self._db.execute(_marked(step.statement), step.values).rowcount

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_S)


def _marked(statement: str) -> bytes:
    """With PostgreSQL's marks for values."""
    return statement.replace("?", "%s").encode()
