"""Volumes and requests, in SQLite or PostgreSQL. Blocking.

A volume is *creating*, *available*, *writing*, *copying* (it is being read for a copy), *deleting*, or in *error*. A request is
*running*, then *done* or *failed*. Each step is one transaction, whose statements name the states that they start from: if one
of them finds nothing, all is undone, and who asked is told what is in the way.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volumes.database import CatalogError, Step, opened
from volumes.driver import NoSuchVolume, VolumeError, VolumeExists

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS volumes (id TEXT PRIMARY KEY, backend TEXT NOT NULL, size BIGINT NOT NULL,"
    " state TEXT NOT NULL, sha256 TEXT, error TEXT)",
    "CREATE TABLE IF NOT EXISTS requests (id TEXT PRIMARY KEY, kind TEXT NOT NULL, volume TEXT NOT NULL,"
    " state TEXT NOT NULL, answer TEXT, accepted DOUBLE PRECISION NOT NULL, ended DOUBLE PRECISION)",
)
ENDED_FIRST = "the service ended before the request did"


class Conflict(VolumeError):
    """The volume is not in the state that this needs."""


class Duplicate(VolumeError):
    """There was a request of this id already."""


@dataclass(frozen=True, slots=True)
class Row:
    """One volume."""

    id: str
    backend: str
    size: int
    state: str
    sha256: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of a volume at the end of a request: it is gone if there is no state."""

    volume: str
    state: str | None
    sha256: str | None = None
    error: str | None = None

    def step(self) -> Step:
        if self.state is None:
            return Step("DELETE FROM volumes WHERE id = ?", (self.volume,))
        values = (self.state, self.sha256, self.error, self.volume)
        return Step("UPDATE volumes SET state = ?, sha256 = ?, error = ? WHERE id = ?", values)


class Catalog:
    """The catalogue at a URL; open when it is made.

    Raises:
        CatalogError: it cannot be had.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.Lock()
        self._database = opened(url)
        self._run(*(Step(statement, (), needed=False) for statement in SCHEMA))

    def close(self) -> None:
        with self._lock:
            self._database.close()

    # Requests. Each is accepted together with its claim on volumes, and ended together with what becomes of them.

    def accept_create(self, request: str, volume: str, *, backend: str, size: int) -> None:
        """Raises Duplicate, VolumeExists."""
        steps = (_accept(request, "create", volume), _create(volume, backend, size))
        if not self._run(*steps):
            raise self._why(request) or VolumeExists(f"volume {volume} exists already")

    def accept_copy(self, request: str, volume: str, *, to: str, backend: str, size: int) -> None:
        """Raises Duplicate, VolumeExists, NoSuchVolume, Conflict."""
        claim = _claim(volume, "copying", ("available",))
        if not self._run(_accept(request, "copy", volume), claim, _create(to, backend, size)):
            raise self._why(request, volume) or VolumeExists(f"volume {to} exists already")

    def accept_write(self, request: str, volume: str) -> None:
        """Raises Duplicate, NoSuchVolume, Conflict."""
        self._claimed(request, "write", _claim(volume, "writing", ("available",)), volume)

    def accept_delete(self, request: str, volume: str) -> None:
        """Raises Duplicate, NoSuchVolume, Conflict."""
        self._claimed(request, "delete", _claim(volume, "deleting", ("available", "error")), volume)

    def end(self, request: str, state: str, *settled: Settled, answer: Mapping[str, object]) -> None:
        """The request has ended, and so have its claims; `answer` is what its client is told besides."""
        values = (state, json.dumps(answer), time.time(), request)
        end = Step("UPDATE requests SET state = ?, answer = ?, ended = ? WHERE id = ?", values)
        steps = (end, *(each.step() for each in settled))
        try:
            self._run(*steps)
        except CatalogError:
            self._run(*steps)  # on a new connection, if it was lost; saying it twice does no harm

    def recover(self) -> int:
        """Settle what a service left that was killed; how many requests."""
        left = self._rows("SELECT id FROM requests WHERE state = 'running'")
        self._run(
            Step(
                "UPDATE requests SET state = 'failed', answer = ?, ended = ? WHERE state = 'running'",
                (json.dumps({"error": ENDED_FIRST}), time.time()),
                needed=False,
            ),
            Step("UPDATE volumes SET state = 'available' WHERE state = 'copying'", (), needed=False),
            Step(
                "UPDATE volumes SET state = 'error', error = ? WHERE state IN ('creating', 'writing', 'deleting')",
                (ENDED_FIRST,),
                needed=False,
            ),
        )
        return len(left)

    # What there is

    def volume(self, volume: str) -> Row:
        """Raises NoSuchVolume."""
        found = self.volumes(" WHERE id = ?", volume)
        if not found:
            raise NoSuchVolume(f"there is no volume {volume}")
        return found[0]

    def volumes(self, where: str = "", *values: object) -> list[Row]:
        statement = f"SELECT id, backend, size, state, sha256, error FROM volumes{where} ORDER BY id"
        return [Row(*row) for row in self._rows(statement, *values)]

    def request(self, request: str) -> tuple[str, dict[str, Any]] | None:
        """State and answer."""
        found = self._rows("SELECT state, answer FROM requests WHERE id = ?", request)
        return (found[0][0], json.loads(found[0][1] or "{}")) if found else None

    def _claimed(self, request: str, kind: str, claim: Step, volume: str) -> None:
        if not self._run(_accept(request, kind, volume), claim):
            raise self._why(request, volume) or Conflict(f"volume {volume} is in use")

    def _why(self, request: str, volume: str | None = None) -> VolumeError | None:
        """What was in the way, as far as it still is."""
        if self.request(request) is not None:
            return Duplicate(f"there was a request {request} already")
        if volume is None:
            return None
        state = self.volume(volume).state
        return None if state == "available" else Conflict(f"volume {volume} is {state}")

    def _run(self, *steps: Step) -> bool:
        with self._lock:
            try:
                return self._database.run(steps)
            except self._database.Error as error:
                raise CatalogError(f"the catalogue failed: {error}") from error

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._database.rows(statement, *values)
            except self._database.Error as error:
                raise CatalogError(f"the catalogue failed: {error}") from error


def _accept(request: str, kind: str, volume: str) -> Step:
    statement = "INSERT INTO requests (id, kind, volume, state, accepted) VALUES (?, ?, ?, 'running', ?)"
    return Step(f"{statement} ON CONFLICT DO NOTHING", (request, kind, volume, time.time()))


def _create(volume: str, backend: str, size: int) -> Step:
    statement = "INSERT INTO volumes (id, backend, size, state) VALUES (?, ?, ?, 'creating')"
    return Step(f"{statement} ON CONFLICT DO NOTHING", (volume, backend, size))


def _claim(volume: str, state: str, states: Sequence[str]) -> Step:
    marks = ", ".join("?" * len(states))
    return Step(f"UPDATE volumes SET state = ? WHERE id = ? AND state IN ({marks})", (state, volume, *states))
