"""`sqlite:///var/lib/samples.sqlite?table=samples`: one row per sample, one transaction per batch."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from hitless.agent.publishers.places import writable
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample

BUSY_S: Final = 10.0
"""How long another writer is waited for."""


class SqliteOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "samples"


class SqlitePublisher:
    def __init__(self, url: PublisherUrl) -> None:
        if url.host or not url.path.strip("/"):
            raise ValueError("expected a path, as sqlite:///var/lib/samples.sqlite")
        self._path: Final = url.path
        self._table: Final = url.options(SqliteOptions).table
        self._database: sqlite3.Connection | None = None

    def open(self) -> None:
        # Calls come one at a time, but not always from the same thread.
        database = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (at REAL NOT NULL, meter TEXT NOT NULL,"
                " kind TEXT NOT NULL, unit TEXT NOT NULL, volume REAL NOT NULL, resource TEXT NOT NULL,"
                " source TEXT NOT NULL, metadata TEXT NOT NULL)"
            )
        except BaseException:
            database.close()
            raise
        self._database = database

    def publish(self, samples: Sequence[Sample]) -> None:
        assert self._database is not None, "open comes before publish"
        rows = [
            (s.at, s.name, s.kind, s.unit, s.volume, s.resource, s.source, json.dumps(dict(s.metadata)))
            for s in samples
        ]
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany(f"INSERT INTO {self._table} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise

    def reach(self) -> None:
        writable(Path(self._path))

    def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()
