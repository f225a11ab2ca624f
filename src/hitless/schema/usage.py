"""Who still uses the database, and whether there is a way back: gates that need no knowledge of the migrations."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from hitless.change import JSON
from hitless.schema.backup import unreadable
from hitless.schema.dialect import PROGRAM, Dialect, Session
from hitless.schema.errors import SchemaError
from hitless.schema.ledger import Heartbeat, Ledger
from hitless.schema.settings import DbSettings

Name = Literal["expand", "pending", "assertions", "check", "sessions", "nodes", "inventory", "backup"]


@dataclass(frozen=True, slots=True)
class Gate:
    name: Name
    holds: bool
    message: str
    """What was found."""

    def to_json(self) -> dict[str, JSON]:
        return {"name": self.name, "holds": self.holds, "message": self.message}


Look = tuple[Name, Callable[[], Gate]]


class Usage:
    """Measures whether anybody of an old release is left. `later` are releases after the one that is contracted to."""

    def __init__(
        self, connection: Connection, dialect: Dialect, *, settings: DbSettings, release: str,
        later: Collection[str] = (), inventory: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._db: Final = connection
        self._dialect: Final = dialect
        self._settings: Final = settings
        self._release: Final = release
        self._later: Final = later
        self._inventory: Final = inventory
        self._ledger: Final = Ledger(connection, dialect)

    def looks(self) -> tuple[Look, ...]:
        return (
            ("sessions", self._sessions),
            ("nodes", self._nodes),
            ("inventory", self._nodes_of_inventory),
            ("backup", self._backup),
        )

    def _sessions(self) -> Gate:
        pattern = self._settings.sessions.name
        if pattern is None or not self._dialect.has_sessions:
            return self._without_sessions(pattern)
        release_of = _release_pattern(pattern)
        others = [each for each in self._dialect.sessions(self._db) if not self._is_ignored(each)]
        old = [
            each
            for each in others
            if (named := release_of(each.name)) is not None and not self._is_new(named)
        ]
        if old:
            return Gate("sessions", False, f"{_some(old)} uses the database with an old release")
        unnamed = [each for each in others if release_of(each.name) is None]
        if unnamed:
            return Gate(
                "sessions",
                False,
                f"{_some(unnamed)} does not say its release; name sessions like {pattern}, or list others in sessions.ignore",
            )
        return Gate("sessions", True, f"{len(others)} sessions, all of release {self._release}")

    def _without_sessions(self, pattern: str | None) -> Gate:
        """Somebody must be able to tell who uses the database: its sessions, heartbeats or the inventory."""
        has_others = self._settings.heartbeat.required or self._settings.inventory.command or self._inventory
        if has_others:
            return Gate("sessions", True, "not looked at: nodes are known by heartbeats or inventory")
        why = f"{self._dialect.title} cannot tell who is connected" if pattern else "sessions.name is not set"
        return Gate(
            "sessions",
            False,
            f"nothing tells which releases use the database ({why}); set sessions.name, heartbeat.required or inventory.command",
        )

    def _is_ignored(self, session: Session) -> bool:
        patterns = (*self._settings.sessions.ignore, PROGRAM)
        return any(fnmatch(session.name, pattern) for pattern in patterns)

    def _is_new(self, release: str) -> bool:
        """Whether this release can do with the contracted schema: the one that is contracted to, or a later one."""
        return release == self._release or release in self._later

    def _nodes(self) -> Gate:
        stale_s = self._settings.heartbeat.stale
        beats = self._ledger.heartbeats(self._settings.service) if self._ledger.exists else ()
        alive = [each for each in beats if each.age_s <= stale_s]
        old = [each for each in alive if not self._is_new(each.release)]
        if old:
            return Gate(
                "nodes",
                False,
                f"{_nodes(old)}; upgrade or stop it (it is gone {stale_s:g} s after its last word)",
            )
        if not alive and self._settings.heartbeat.required:
            return Gate(
                "nodes",
                False,
                f"no node of release {self._release} has written a heartbeat in {stale_s:g} s",
            )
        return Gate("nodes", True, f"{len(alive)} nodes write heartbeats, all of release {self._release}")

    def _nodes_of_inventory(self) -> Gate:
        if self._inventory is None and not self._settings.inventory.command:
            return Gate("inventory", True, "not looked at: there is no inventory.command")
        inventory = dict(self._inventory) if self._inventory is not None else _listed(self._settings)
        if not inventory:
            return Gate("inventory", False, "the inventory has no nodes; contract cannot know who is left")
        for node, release in inventory.items():
            if not self._is_new(release):
                return Gate("inventory", False, f"node {node} is on release {release}, not {self._release}")
        return Gate("inventory", True, f"{len(inventory)} nodes, all of release {self._release}")

    def _backup(self) -> Gate:
        row = self._ledger.last_backup() if self._ledger.exists else None
        max_age_s = self._settings.backup.max_age
        if row is None:
            return Gate("backup", False, "there is no backup; run: hitless db backup")
        if row.age_s > max_age_s:
            return Gate("backup", False, f"the last backup is {row.age_s:.0f} s old; run: hitless db backup")
        if why := unreadable(Path(row.path), size=row.size, sha256=row.sha256):
            return Gate("backup", False, f"the last backup {why}; run: hitless db backup")
        return Gate("backup", True, f"{row.path} was taken {row.age_s:.0f} s ago and is readable")


def measure(connection: Connection, looks: tuple[Look, ...]) -> tuple[Gate, ...]:
    """All gates, each on its own, so that everything that is missing is told at once. What cannot be measured is closed."""
    return tuple(_measured(connection, name, look) for name, look in looks)


def _measured(connection: Connection, name: Name, look: Callable[[], Gate]) -> Gate:
    try:
        with connection.begin():
            return look()
    except (SQLAlchemyError, SchemaError) as error:
        return Gate(name, False, f"cannot be measured: {' '.join(str(error).split())}")


def _release_pattern(pattern: str) -> Callable[[str], str | None]:
    """From `imagestore/{release}`: what a name says its release is, or None if it says none."""
    before, _, after = pattern.partition("{release}")
    expression = re.compile(f"{re.escape(before)}(?P<release>[^/ ]+){re.escape(after)}.*")

    def read(name: str) -> str | None:
        match = expression.fullmatch(name)
        return match["release"] if match else None

    return read


def _listed(settings: DbSettings) -> dict[str, str]:
    """What the inventory's command prints."""
    command = settings.inventory.command
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=settings.inventory.timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SchemaError("inventory_failed", f"inventory.command failed: {error}") from error
    if done.returncode:
        raise SchemaError(
            "inventory_failed", f"inventory.command exited with {done.returncode}: {done.stderr.strip()}"
        )
    return dict(_lines(done.stdout))


def _lines(printed: str) -> Iterator[tuple[str, str]]:
    for line in printed.splitlines():
        node, *release = line.split()[:2] or [""]
        if not release:
            raise SchemaError(
                "inventory_failed", f"inventory.command printed {line!r}; expected a node and its release"
            )
        yield node, release[0]


def _some(sessions: list[Session]) -> str:
    more = f" (and {len(sessions) - 1} more)" if len(sessions) > 1 else ""
    return f"{sessions[0]}{more}"


def _nodes(beats: list[Heartbeat]) -> str:
    first = beats[0]
    more = f" (and {len(beats) - 1} more)" if len(beats) > 1 else ""
    return f"node {first.node}{more} runs release {first.release}, heard {first.age_s:.0f} s ago"
