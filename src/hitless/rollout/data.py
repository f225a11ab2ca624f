"""The database's side of a rollout: the phases of `hitless db`, each in a thread, with the gates that they have of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from hitless.config import ConfigError
from hitless.rollout.errors import Busy, Invalid, Late, Rejected, RolloutError, Unreachable
from hitless.rollout.reading import Rollout
from hitless.rollout.template import filled
from hitless.schema import (
    AnyPhases,
    Gate,
    Listener,
    LockTimeout,
    Phases,
    Progress,
    SchemaError,
    State,
    open_phases,
    read_settings,
)
from hitless.schema import Busy as SchemaBusy
from hitless.schema import Invalid as SchemaInvalid
from hitless.schema import Late as SchemaLate
from hitless.schema import Rejected as SchemaRejected
from hitless.schema import Unreachable as SchemaUnreachable
from hitless.schema.ledger import Ledger
from hitless.schema.upgrade import heads

T = TypeVar("T")
KINDS: Final[Mapping[type[SchemaError], type[RolloutError]]] = {
    SchemaBusy: Busy,
    SchemaInvalid: Invalid,
    SchemaLate: Late,
    LockTimeout: Late,
    SchemaRejected: Rejected,
    SchemaUnreachable: Unreachable,
}


class Heard(Listener):
    """The last thing that a phase told. It is told in the phase's thread, and read in another: one reference is replaced."""

    def __init__(self) -> None:
        self.last = ""

    def note(self, message: str) -> None:
        self.last = message

    def progress(self, progress: Progress) -> None:
        of = f" of {progress.total}" if progress.total is not None else ""
        left = f", {progress.eta_s:.0f} s left" if progress.eta_s is not None else ""
        held = f", waits: {progress.held_by}" if progress.held_by else ""
        self.last = f"{progress.name}: {progress.done}{of} rows, {progress.rate:.0f}/s{left}{held}"


@dataclass(frozen=True, slots=True)
class Known:
    """What the migrations of the new release know."""

    releases: tuple[str, ...] | None
    """All of them, oldest first; None if another tool makes the phases, which does not say."""
    heartbeats: Mapping[str, str]
    """Nodes that have written lately that they run, and what."""


class Data:
    """One service's database, by the new release's settings: an older release's tools would not know where it is at."""

    def __init__(self, rollout: Rollout) -> None:
        self.heard: Final = Heard()
        self._rollout: Final = rollout
        self._opened: AnyPhases | None = None

    async def state(self) -> State:
        return await self._in_thread(lambda phases: phases.status(self._rollout.release))

    async def known(self) -> Known:
        return await self._in_thread(self._known)

    async def gates(self, inventory: Mapping[str, str]) -> tuple[Gate, ...]:
        return await self._in_thread(lambda phases: phases.gates(self._rollout.release, inventory))

    async def backup(self) -> str:
        taken = await self._in_thread(lambda phases: phases.backup())
        return f"{taken.path} ({taken.size} bytes) is written and readable"

    async def expand(self) -> str:
        report = await self._in_thread(lambda phases: phases.expand(self._rollout.release))
        return f"{', '.join(report.revisions) or 'nothing'} ran"

    async def migrate(self) -> str:
        report = await self._in_thread(lambda phases: phases.migrate(self._rollout.release))
        return f"{sum(report.rows.values())} rows moved, none is left"

    async def contract(self, inventory: Mapping[str, str], force: tuple[str, ...] = ()) -> str:
        report = await self._in_thread(
            lambda phases: phases.contract(self._rollout.release, force=force, inventory=inventory)
        )
        forced = f", overridden: {', '.join(report.forced)}" if report.forced else ""
        return f"{', '.join(report.revisions) or 'nothing'} ran{forced}"

    async def contract_begun(self, since: str | None) -> str | None:
        """A sentence about a contract of a release after `since` that has begun; None if there is a way back."""
        return await self._in_thread(lambda phases: self._begun(phases, since))

    def url(self) -> str:
        """Of the database, for a journal that lives in it."""
        with _explained():
            return self._phases().settings.url.get_secret_value()

    def _begun(self, phases: AnyPhases, since: str | None) -> str | None:
        names = list(self._rollout.settings.releases)
        later = (
            names[names.index(since) + 1 : names.index(self._rollout.release) + 1]
            if since in names
            else [self._rollout.release]
        )
        if isinstance(phases, Phases):
            return _begun_revision(phases, later)
        for run in phases.history(100):
            if run.phase == "contract" and run.release in later and run.status != "rejected":
                return f"contract of release {run.release} has begun (run {run.id}, by {run.who})"
        return None

    def _known(self, phases: AnyPhases) -> Known:
        with phases.database.reading() as connection:
            ledger = Ledger(connection, phases.database.dialect)
            beats = ledger.heartbeats(phases.settings.service) if ledger.exists else ()
        alive = {beat.node: beat.release for beat in beats if beat.age_s <= phases.settings.heartbeat.stale}
        releases = (
            tuple(each.name for each in phases.project.releases) if isinstance(phases, Phases) else None
        )
        return Known(releases, alive)

    def _phases(self) -> AnyPhases:
        if self._opened is None:
            settings = self._rollout.settings
            assert settings.database is not None
            values = self._rollout.values_here(self._rollout.release)
            path = self._rollout.folder / Path(filled(settings.database.config, values))
            loaded = read_settings(path, os.environ)
            self._opened = open_phases(loaded.settings, path.parent, self.heard)
        return self._opened

    async def _in_thread(self, work: Callable[[AnyPhases], T]) -> T:
        def run() -> T:
            with _explained():
                return work(self._phases())

        return await asyncio.to_thread(run)


def _begun_revision(phases: Phases, releases: list[str]) -> str | None:
    known = {each.name: each for each in phases.project.releases}
    with phases.database.reading() as connection:
        ledger = Ledger(connection, phases.database.dialect)
        passed = phases.project.ancestors(heads(connection))
        passed |= ledger.begun_revisions() if ledger.exists else frozenset()
    for name in releases:
        for revision in known[name].contract if name in known else ():
            if revision.id in passed:
                return f"contract of release {name} has begun ({revision.id})"
    return None


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise KINDS.get(type(error), RolloutError)(
            error.reason, f"the database: {error.message}", error.detail
        ) from error
    except ConfigError as error:
        raise Invalid("invalid_database", f"the database's settings: {error}") from error
