"""Schemas that another tool changes: under our lock, our gates, our backups and in our ledger.

The tool is asked what comes next before and after each phase, and nothing it says about having done it is believed
without that. What is inside its migrations hitless does not see: rows that one of its releases leaves behind are its
business.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, inspect, text

from hitless.schema.errors import Invalid, Late, Rejected, SchemaError
from hitless.schema.report import PHASES, Phase
from hitless.schema.settings import AlembicSettings, CommandSettings, DbSettings, DjangoSettings
from hitless.schema.upgrade import heads

ORDER: Final[tuple[Phase | None, ...]] = (*PHASES, None)
APPLIED: Final = re.compile(r"^\[X\]\s+(?P<app>\w+)\.(?P<name>\w+)", re.MULTILINE)


class Adapter(Protocol):
    """A tool that makes the phases."""

    def next(self, connection: Connection) -> Phase | None:
        """The phase that comes next; None if nothing is left to do."""

    def commands(self, phase: Phase) -> tuple[tuple[str, ...], ...]:
        """What has to be run for a phase; nothing if the tool has no such phase."""


class Commands:
    """Any tool whose check tells by its exit code what comes next, as glance-manage's does."""

    def __init__(self, settings: CommandSettings, folder: Path) -> None:
        if not settings.check:
            raise Invalid(
                "no_check", "commands.check is not set; without it nobody knows what the database is at"
            )
        self._settings: Final = settings
        self._folder: Final = folder

    def next(self, connection: Connection) -> Phase | None:  # noqa: ARG002
        settings = self._settings
        code, said = run(settings.check, self._folder, settings.timeout)
        phases: tuple[tuple[tuple[int, ...], Phase | None], ...] = (
            (settings.done, None),
            (settings.to_expand, "expand"),
            (settings.to_migrate, "migrate"),
            (settings.to_contract, "contract"),
        )
        for codes, phase in phases:
            if code in codes:
                return phase
        raise SchemaError(
            "check_failed", f"{settings.check[0]} exited with {code}, which commands does not know: {said}"
        )

    def commands(self, phase: Phase) -> tuple[tuple[str, ...], ...]:
        command: tuple[str, ...] = getattr(self._settings, phase)
        return (command,) if command else ()


class PlainAlembic:
    """A project of one alembic branch, of which two revisions are said to end expand and contract."""

    def __init__(self, settings: AlembicSettings, folder: Path) -> None:
        from alembic.config import Config
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        if not settings.expand or not settings.contract:
            raise Invalid("no_revisions", "alembic.expand and alembic.contract must each name a revision")
        self._settings: Final = settings
        try:
            self._script: Final = ScriptDirectory.from_config(Config(str(folder / settings.config)))
            self._expanded: Final = self._up_to(settings.expand)
            self._contracted: Final = self._up_to(settings.contract)
        except CommandError as error:
            raise Invalid(
                "broken_revisions", f"alembic cannot read {folder / settings.config}: {error}"
            ) from error

    def next(self, connection: Connection) -> Phase | None:
        applied = {each for head in heads(connection) for each in self._up_to(head)}
        if not self._expanded <= applied:
            return "expand"
        return None if self._contracted <= applied else "contract"

    def commands(self, phase: Phase) -> tuple[tuple[str, ...], ...]:
        alembic = ("alembic", "-c", self._settings.config, "upgrade")
        if phase == "migrate":
            return (self._settings.migrate,) if self._settings.migrate else ()
        return ((*alembic, self._settings.expand if phase == "expand" else self._settings.contract),)

    def _up_to(self, revision: str) -> frozenset[str]:
        return frozenset(each.revision for each in self._script.iterate_revisions(revision, "base"))


class Django:
    """A Django project: per app, the migrations that end expand and contract."""

    def __init__(self, settings: DjangoSettings, folder: Path) -> None:  # noqa: ARG002
        if not settings.expand and not settings.contract:
            raise Invalid("no_migrations", "django.expand and django.contract must name migrations, by app")
        self._settings: Final = settings

    def next(self, connection: Connection) -> Phase | None:
        applied = self._applied(connection)
        if not set(self._settings.expand.items()) <= applied:
            return "expand"
        return None if set(self._settings.contract.items()) <= applied else "contract"

    def commands(self, phase: Phase) -> tuple[tuple[str, ...], ...]:
        if phase == "migrate":
            return (self._settings.migrate,) if self._settings.migrate else ()
        wanted = self._settings.expand if phase == "expand" else self._settings.contract
        return tuple(
            (*self._settings.manage, "migrate", "--no-input", app, name) for app, name in wanted.items()
        )

    def _applied(self, connection: Connection) -> set[tuple[str, str]]:
        if not inspect(connection).has_table("django_migrations"):
            return set()  # Django makes it with its first migration
        rows = connection.execute(text("SELECT app, name FROM django_migrations"))
        return {(str(app), str(name)) for app, name in rows}


def adapter_of(settings: DbSettings, folder: Path) -> Adapter | None:
    """The adapter that the settings name; None for hitless's own migrations."""
    if settings.adapter == "commands":
        return Commands(settings.commands, folder)
    if settings.adapter == "alembic":
        return PlainAlembic(settings.alembic, folder)
    if settings.adapter == "django":
        return Django(settings.django, folder)
    return None


def make_phase(
    adapter: Adapter, phase: Phase, connection: Connection, *, folder: Path, timeout_s: float
) -> tuple[str, ...]:
    """Run a phase's commands if it is due; returns what was run.

    Raises:
        Rejected: an earlier phase comes first.
        SchemaError: a command failed, or the tool says afterwards that the phase is still to be done.
    """
    due = ask_tool(adapter, connection)
    if ORDER.index(due) > ORDER.index(phase):
        return ()
    if ORDER.index(due) < ORDER.index(phase) and not (phase == "migrate" and due is None):
        raise Rejected("wrong_phase", f"{due} comes before {phase}; run: hitless db {due}")
    ran = []
    for command in adapter.commands(phase):
        code, said = run(command, folder, timeout_s)
        if code:
            raise SchemaError("command_failed", f"{' '.join(command)} exited with {code}: {said}")
        ran.append(" ".join(command))
    if (left := ask_tool(adapter, connection)) == phase:
        raise SchemaError(
            "not_done",
            f"{' and '.join(ran) or 'nothing'} ran, but {left} is still to be done; look at its output",
        )
    return tuple(ran)


def ask_tool(adapter: Adapter, connection: Connection) -> Phase | None:
    """What comes next. No transaction of ours is open while a tool runs: on SQLite it would wait for us for ever."""
    try:
        return adapter.next(connection)
    finally:
        if connection.in_transaction():
            connection.rollback()


def run(command: Sequence[str], folder: Path, timeout_s: float) -> tuple[int, str]:
    """Exit code of a command and the end of what it said."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except OSError as error:
        raise SchemaError("command_failed", f"{command[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Late(
            "command_late", f"{' '.join(command)} had not ended after {time.monotonic() - began:.0f} s"
        ) from error
    return done.returncode, " ".join(done.stdout.decode(errors="replace").split())[-400:]
