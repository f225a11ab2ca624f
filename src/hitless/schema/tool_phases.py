"""The phases of a schema that another tool changes: the same lock, ledger, backups and gates around the tool's commands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from hitless.schema.adapter import Adapter, adapter_of, ask_tool, make_phase
from hitless.schema.errors import Invalid
from hitless.schema.lease import current_holder
from hitless.schema.listener import Listener
from hitless.schema.report import PHASES, Phase, Report, State
from hitless.schema.runs import Runs
from hitless.schema.settings import DbSettings
from hitless.schema.upgrade import heads
from hitless.schema.usage import Gate, Usage, measure


class ToolPhases(Runs):
    """Expand, migrate and contract by the commands of an adapter.

    The tool takes its locks itself: on PostgreSQL it is given the lock timeout through PGOPTIONS, elsewhere it has its own.
    """

    def __init__(self, settings: DbSettings, folder: Path = Path(), listener: Listener | None = None) -> None:
        super().__init__(settings, folder, listener)
        adapter = adapter_of(settings, folder)
        if adapter is None or settings.release is None:
            raise Invalid(
                "no_release",
                "release is not set; another tool's schema needs to be told which release is new",
            )
        self._adapter: Final[Adapter] = adapter

    def status(self, release: str | None = None) -> State:
        """What the tool says."""
        with self.database.reading() as connection, connection.begin():
            due = self._adapter.next(connection)
            at = heads(connection)
            holder = current_holder(connection, self.database, self.settings.service)
        left = PHASES[PHASES.index(due) :] if due else ()
        return State(
            release=self._release(release),
            heads=at,
            expand=self._said("expand") if "expand" in left else (),
            pending={"the tool's data migrations": True} if due == "migrate" else {},
            unknown=("the tool's data migrations",)
            if due == "expand" and self._adapter.commands("migrate")
            else (),
            contract=self._said("contract") if "contract" in left else (),
            holder=holder,
        )

    def gates(
        self, release: str | None = None, inventory: Mapping[str, str] | None = None
    ) -> tuple[Gate, ...]:
        with self.database.reading() as connection:
            return self._measure(connection, self._release(release), inventory)

    def expand(self, release: str | None = None) -> Report:
        return self._phase("expand", release)

    def migrate(self, release: str | None = None) -> Report:
        return self._phase("migrate", release)

    def contract(
        self,
        release: str | None = None,
        *,
        force: Sequence[str] = (),
        inventory: Mapping[str, str] | None = None,
    ) -> Report:
        """Raises Rejected if a gate does not hold and is not named in `force`."""
        return self._phase("contract", release, force=force, inventory=inventory)

    def _phase(
        self, phase: Phase, release: str | None, *, force: Sequence[str] = (), inventory: Mapping[str, str] | None = None
    ) -> Report:  # fmt: skip
        began = time.monotonic()
        name = self._release(release)
        with self._run(phase, name) as (connection, lease, detail):
            forced: tuple[str, ...] = ()
            if phase == "contract":
                forced = self._passed(self._measure(connection, name, inventory), force, ("check",), detail)
            lease.check()
            with _lock_timeout(self.settings.locks.timeout):
                ran = make_phase(
                    self._adapter,
                    phase,
                    connection,
                    folder=self.folder,
                    timeout_s=self.settings.commands.timeout,
                )
            detail["commands"] = list(ran)
        seconds = time.monotonic() - began
        return Report(phase=phase, release=name, revisions=ran, forced=forced, seconds=seconds)

    def _measure(
        self, connection: Connection, release: str, inventory: Mapping[str, str] | None
    ) -> tuple[Gate, ...]:
        usage = Usage(
            connection, self.database.dialect, settings=self.settings, release=release, inventory=inventory
        )
        due = ask_tool(self._adapter, connection)
        return measure(connection, (("check", lambda: self._check(due)), *usage.looks()))

    def _check(self, due: Phase | None) -> Gate:
        if due in ("expand", "migrate"):
            return Gate("check", False, f"{due} comes first; run: hitless db {due}")
        return Gate(
            "check",
            True,
            "the tool says that contract comes next" if due else "the tool has nothing left to do",
        )

    def _said(self, phase: Phase) -> tuple[str, ...]:
        return tuple(" ".join(command) for command in self._adapter.commands(phase)) or (phase,)

    def _release(self, name: str | None) -> str:
        return name or self.settings.release or ""


@contextmanager
def _lock_timeout(seconds: float) -> Iterator[None]:
    """libpq's programs take it from the environment; other drivers do not look."""
    before = os.environ.get("PGOPTIONS")
    os.environ["PGOPTIONS"] = f"{before or ''} -c lock_timeout={round(seconds * 1000)}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ["PGOPTIONS"]
        else:
            os.environ["PGOPTIONS"] = before
