from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text
from tests.servers.databases import mariadb, postgres
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres

from hitless.schema import DbSettings, Phases
from hitless.schema.database import Database, read_url
from hitless.schema.ledger import Ledger
from hitless.schema.listener import Listener, Progress
from schema import imagestore

__all__ = ["mariadb", "postgres"]

COUNT = itertools.count()
KINDS = ("sqlite", "mariadb", "postgres")
FAST: dict[str, Any] = {"timeout": 1.0, "pause": 0.05, "max_pause": 0.2, "lease": 5.0}


class Heard(Listener):
    """What a run told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[Progress] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)


@dataclass
class Place:
    """A folder of migrations and an empty database for it."""

    kind: str
    folder: Path
    url: str
    heard: Heard

    def settings(self, **changed: Any) -> DbSettings:
        values: dict[str, Any] = {"url": self.url, "service": "images", "locks": FAST}
        values["heartbeat"] = {"required": True, "stale": 600.0}
        return DbSettings.model_validate(values | changed)

    def phases(self, **changed: Any) -> Phases:
        return Phases(self.settings(**changed), self.folder, self.heard)

    @property
    def database(self) -> Database:
        return Database(self.url)

    def engine(self) -> Engine:
        """Plain sessions, as the service itself has them."""
        options = {"isolation_level": "AUTOCOMMIT"}
        return create_engine(read_url(self.url), poolclass=NullPool, **options)

    def beat(self, node: str, release: str) -> None:
        """One heartbeat, without a thread that goes on: tests fork."""
        with self.database.connect() as connection, connection.begin():
            Ledger(connection, self.database.dialect).beat("images", node, release)

    def sql(self, *statements: str, **values: Any) -> Any:
        """The rows of the last statement."""
        engine = self.engine()
        with engine.connect() as connection:
            for statement in statements:
                found = connection.execute(text(statement), values)
            return [tuple(row) for row in found] if found.returns_rows else None

    def columns(self, table: str) -> set[str]:
        from sqlalchemy import inspect

        return {column["name"] for column in inspect(self.engine()).get_columns(table)}


Make = Callable[[str], Place]


@pytest.fixture
def make_place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Places of one kind of database each."""
    drops: list[Callable[[], object]] = []

    def make(kind: str) -> Place:
        name = f"test_{os.getpid()}_{next(COUNT)}"
        folder = tmp_path / name
        folder.mkdir()
        if kind == "sqlite":
            return Place(kind, folder, f"sqlite:///{folder}/images.db", Heard())
        server: Postgres | MariaDB = request.getfixturevalue(kind)
        server.sql(f"CREATE DATABASE {name}")
        force = " WITH (FORCE)" if kind == "postgres" else ""
        drops.append(lambda: server.sql(f"DROP DATABASE {name}{force}"))
        return Place(kind, folder, server.url(name), Heard())

    yield make
    for drop in drops:
        drop()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, make_place: Make) -> Place:
    """The image store of three releases on each database."""
    made = make_place(request.param)
    imagestore.all_releases(made.folder)
    return made


def fill(place: Place, rows: int) -> None:
    """Images as release 1 writes them, every third one public."""
    engine = place.engine()
    with engine.connect() as connection:
        values = [{"name": f"image {n}", "public": n % 3 == 0, "bytes": n * 1024} for n in range(rows)]
        for begin in range(0, rows, 5000):
            connection.execute(
                text("INSERT INTO images (name, is_public, bytes) VALUES (:name, :public, :bytes)"),
                values[begin : begin + 5000],
            )
