"""The catalogue's database, if it is SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volumes.database import CatalogError, Step

BUSY_S = 10.0


class Sqlite:
    Error = sqlite3.Error

    def __init__(self, path: Path) -> None:
        """Raises CatalogError: the file cannot be had."""
        try:
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise CatalogError(f"the catalogue {path} cannot be opened: {error}") from error

    def run(self, steps: Sequence[Step]) -> bool:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            done = all(
                self._db.execute(each.statement, each.values).rowcount or not each.needed for each in steps
            )
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT" if done else "ROLLBACK")
        return done

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._db.execute(statement, values).fetchall()

    def close(self) -> None:
        self._db.close()
