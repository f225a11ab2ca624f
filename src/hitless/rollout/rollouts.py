"""The rollouts of one service: planned, run, resumed, rolled back, one at a time, whoever asks and from wherever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.change import Deadline, Events
from hitless.rollout import gates
from hitless.rollout.acts import Acts
from hitless.rollout.data import Data
from hitless.rollout.errors import Busy, Invalid, LeaseLost, Rejected, RolloutError, Stopped, Unreachable
from hitless.rollout.gates import Gate
from hitless.rollout.journal import Journal, RolloutRow
from hitless.rollout.opening import Opened, opened
from hitless.rollout.plan import Direction, Plan
from hitless.rollout.planner import Planner
from hitless.rollout.reading import Rollout
from hitless.rollout.runner import Runner, Work
from hitless.rollout.timeouts import LEASE_S, ORPHANS_S, UNDO_S
from hitless.rollout.world import Survey
from hitless.schema import Busy as SchemaBusy
from hitless.schema import SchemaError
from hitless.schema import Unreachable as SchemaUnreachable
from hitless.schema.database import Database
from hitless.schema.lease import Lease, current_holder, held, whoami

OWN: Final = "database"
"""As `journal`: the journal is in the service's own database."""


@dataclass(frozen=True, slots=True)
class Planned:
    plan: Plan
    gates: tuple[Gate, ...]
    survey: Survey

    @property
    def may_begin(self) -> bool:
        return all(gate.holds for gate in self.gates)

    def check(self) -> None:
        """Raises what `run` would."""
        gates.passed(self.gates, "the rollout cannot begin", self.survey)


class Rollouts:
    """What `hitless rollout` does. Every method raises RolloutError or one of its kinds."""

    def __init__(
        self, rollout: Rollout, state: Path, events: Events | None = None, *, orphans_s: float = ORPHANS_S
    ) -> None:
        self.rollout: Final = rollout
        self.events: Final = events or Events()
        self._state: Final = state
        self._service: Final = rollout.settings.service
        self._orphans_s: Final = orphans_s
        self._runner: Runner | None = None
        self._is_interrupted = False

    async def plan(self) -> Planned:
        """What a run would do now. Nothing is changed, not even the journal."""
        async with opened(self.rollout) as found:
            return await self._planned(found, "upgrade")

    async def run(self) -> RolloutRow:
        """Plan, and do it.

        Raises:
            Rejected: a gate does not hold, or an earlier rollout is not over.
            Stopped: it was paused or aborted.
        """
        journal = await self._journal(writes=True)
        with self._alone(journal.database, "run") as lease:
            self._refuse_open(journal)
            async with opened(self.rollout) as found:
                planned = await self._planned(found, "upgrade")
                planned.check()
                return await self._carried_out(journal, lease, found, planned.plan)

    async def resume(self) -> RolloutRow:
        """Go on with the rollout that is not over, from what is so now."""
        journal = await self._journal(writes=True)
        with self._alone(journal.database, "resume") as lease:
            row = self._open_row(journal)
            self._check_still_described(row)
            if row.status == "running" and _has_begun_commands(journal, row):
                await asyncio.sleep(self._orphans_s)
            journal.resume(row.id, whoami())
            return await self._resumed(journal, lease, row)

    async def rollback(self) -> RolloutRow:
        """Bring every node back to the release that it had.

        Raises:
            Rejected: contract has begun: the old release cannot run on the database any more.
        """
        journal = await self._journal(writes=True)
        with self._alone(journal.database, "rollback") as lease:
            row = journal.last(self._service)
            if row is None or row.direction == "rollback":
                raise Rejected(
                    "nothing_to_roll_back",
                    "the last rollout was none that could be rolled back; see: hitless rollout history",
                )
            return await self._rolled_back(journal, lease, row)

    async def ask(self, wish: str) -> RolloutRow:
        """Ask the runner to pause or abort; with none at work, an abort is done here."""
        journal = await self._journal(writes=True)
        row = self._open_row(journal)
        if self._holder(journal.database) is not None:
            journal.wish(row.id, wish)
        elif wish == "abort":
            with self._alone(journal.database, "abort"):
                async with opened(self.rollout.to(row.release), with_database=False) as found:
                    await self._give_back(found, row)
                journal.finish(row.id, "aborted", "aborted while nothing was under way")
        elif row.status == "running":  # its runner died
            journal.pause(row.id, reason="paused", message="its runner is gone; paused as was asked")
        return self._row(journal, row.id)

    async def status(self) -> tuple[RolloutRow, Journal, str | None] | None:
        """The last rollout, the journal it is in, and who is at work; None if nothing was ever rolled out."""
        journal = await self._journal(writes=False)
        row = journal.last(self._service)
        return None if row is None else (row, journal, self._holder(journal.database))

    async def history(self, limit: int) -> Sequence[RolloutRow]:
        return (await self._journal(writes=False)).rollouts(self._service, limit)

    def interrupt(self) -> None:
        """Ctrl-C or SIGTERM: pause as soon as no node is out of service; the second time, leave what only waits."""
        if self._runner is not None:
            self._runner.ask("pause", at_once=self._is_interrupted)
        self._is_interrupted = True

    # -- one rollout -------------------------------------------------------------------------------------------------------

    async def _planned(self, found: Opened, direction: Direction) -> Planned:
        survey = await found.world.survey()
        measured = gates.measured(gates.before(direction), found.world.rollout, survey)
        return Planned(Planner(found.world, survey, direction).plan(), measured, survey)

    async def _carried_out(self, journal: Journal, lease: Lease, found: Opened, plan: Plan) -> RolloutRow:
        number = await asyncio.to_thread(journal.begin, plan, whoami())
        return await self._ran(journal, lease, found, self._row(journal, number), is_resumed=False)

    async def _resumed(self, journal: Journal, lease: Lease, row: RolloutRow) -> RolloutRow:
        with_database = row.direction == "upgrade"
        async with opened(self.rollout.to(row.release), with_database=with_database) as found:
            return await self._ran(journal, lease, found, row, is_resumed=True)

    async def _ran(
        self, journal: Journal, lease: Lease, found: Opened, row: RolloutRow, *, is_resumed: bool
    ) -> RolloutRow:
        acts = Acts(found.world, found.here, direction=row.plan.direction, is_resumed=is_resumed)
        self._runner = Runner(Work(row.id, row.plan, found.world, journal, acts, lease, self.events))
        if self._is_interrupted:  # while everything was being looked at
            self._runner.ask("pause")
        self.events.emit("rollout.begun", rollout=row.id, release=row.release, direction=row.direction)
        try:
            await self._runner.run()
        except LeaseLost:
            raise  # the journal is somebody else's now
        except Stopped as stopped:
            await self._stopped(journal, found, row, stopped)
            raise
        except RolloutError as error:
            await self._failed(journal, lease, found, row, error)
            raise
        finally:
            self._runner = None
        journal.finish(row.id, "done", f"every node is on release {row.release}")
        self.events.emit("rollout.done", rollout=row.id)
        return self._row(journal, row.id)

    async def _stopped(self, journal: Journal, found: Opened, row: RolloutRow, stopped: Stopped) -> None:
        if stopped.reason == "aborted":
            await self._give_back(found, row)
            journal.finish(row.id, "aborted", stopped.message)
        else:
            journal.pause(row.id, reason=stopped.reason, message=stopped.message)
        self.events.emit(
            f"rollout.{'aborted' if stopped.reason == 'aborted' else 'paused'}", message=stopped.message
        )

    async def _failed(
        self, journal: Journal, lease: Lease, found: Opened, row: RolloutRow, error: RolloutError
    ) -> None:
        journal.pause(row.id, reason=error.reason, message=error.message)
        self.events.emit("rollout.failed", reason=error.reason, message=error.message)
        acts = Acts(found.world, found.here, direction=row.plan.direction, is_resumed=False)
        with suppress(RolloutError):  # the failure that it is told of counts, not its own
            await acts.hook(
                "on_failure",
                Deadline.after(found.world.rollout.settings.deadlines.hook),
                message=error.message,
            )
        if self.rollout.settings.on_failure == "roll_back" and row.direction == "upgrade":
            await self._rolled_back(journal, lease, row)

    async def _rolled_back(self, journal: Journal, lease: Lease, row: RolloutRow) -> RolloutRow:
        self._check_still_described(row)
        before = row.plan.before
        if before is None or before not in self.rollout.settings.releases:
            raise Rejected(
                "nothing_to_roll_back",
                f"rollout {row.id} found no node on an older release, so there is none to go back to",
            )
        await self._refuse_after_contract(row, before)
        back = self.rollout.to(before)
        async with opened(back, with_database=False) as found:
            planned = await self._planned(found, "rollback")
            planned.check()
            if row.is_open:
                journal.finish(row.id, "rolled_back", f"rolled back to release {before}")
            return await self._carried_out(journal, lease, found, planned.plan)

    async def _refuse_after_contract(self, row: RolloutRow, before: str) -> None:
        if self.rollout.settings.database is None:
            return
        begun = await Data(self.rollout.to(row.release)).contract_begun(before)
        if begun is not None:
            raise Rejected(
                "contract_begun",
                f"release {before} cannot run on the database any more: {begun}; go forward with: hitless rollout resume",
            )

    async def _give_back(self, found: Opened, row: RolloutRow) -> None:
        """Traffic for nodes that were drained and serve as before: an abort leaves nothing idle that could work."""
        world = found.world
        if not world.balancers.are_any:
            return
        deadline = Deadline.after(UNDO_S)
        for step in row.plan.steps():
            if step.kind != "drain" or step.node is None:
                continue
            node = world.rollout.nodes[step.node]
            with suppress(RolloutError):
                seen = await world.look(node)
                healthy = (await world.healthy([node]))[node.name]
                if not seen.is_gone and seen.traffic is not None and not seen.traffic.is_ready and healthy.ok:
                    await world.balancers.ready(node, deadline)

    # -- the journal -------------------------------------------------------------------------------------------------------

    async def _journal(self, *, writes: bool) -> Journal:
        return await asyncio.to_thread(self._opened_journal, writes)

    def _opened_journal(self, writes: bool) -> Journal:
        with _explained():
            journal = Journal(Database(self._journal_url()))
        if writes:
            journal.create()
        return journal

    def _journal_url(self) -> str:
        url = self.rollout.settings.journal
        if url == OWN:
            if self.rollout.settings.database is None:
                raise Invalid("no_database", "journal says database, and no database is set")
            return Data(self.rollout).url()
        if url is not None:
            return url
        self._make_state()
        return f"sqlite:///{self._state / self._service}.sqlite"

    def _make_state(self) -> None:
        try:
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RolloutError(
                "no_state_directory",
                f"the state directory {self._state} cannot be made: {error.strerror}; name another with --state-dir",
            ) from error

    @contextmanager
    def _alone(self, database: Database, purpose: str) -> Iterator[Lease]:
        """One runner per service. Raises Busy, naming who it is."""
        with ExitStack() as stack:
            with _explained():
                taken = held(database, name=self._lock_name, seconds=LEASE_S, purpose=purpose)
                _, lease = stack.enter_context(taken)
            yield lease

    @property
    def _lock_name(self) -> str:
        return f"rollout.{self._service}"

    def _holder(self, database: Database) -> str | None:
        """Who is at work, as a sentence."""
        with _explained(), database.reading() as connection, connection.begin():
            return current_holder(connection, database, self._lock_name)

    def _refuse_open(self, journal: Journal) -> None:
        row = journal.last(self._service)
        if row is not None and row.is_open:
            raise Rejected(
                "not_over",
                f"rollout {row.id} to release {row.release} is not over ({row.message or row.status});"
                " resume it, abort it, or roll it back",
            )

    def _check_still_described(self, row: RolloutRow) -> None:
        """A rollout is of the nodes and releases that it was planned for."""
        missing = [
            step.node for step in row.plan.steps() if step.node and step.node not in self.rollout.nodes
        ]
        missing += [f"release {row.release}"] if row.release not in self.rollout.settings.releases else []
        if missing:
            raise Rejected(
                "description_changed",
                f"rollout {row.id} was planned with {missing[0]}, which is not described any more; put it back, or abort",
            )

    def _open_row(self, journal: Journal) -> RolloutRow:
        row = journal.last(self._service)
        if row is None or not row.is_open:
            raise Unreachable("no_rollout", f"there is no rollout of {self._service} under way")
        return row

    def _row(self, journal: Journal, number: int) -> RolloutRow:
        return next(row for row in journal.rollouts(self._service) if row.id == number)


def _has_begun_commands(journal: Journal, row: RolloutRow) -> bool:
    """Whether the runner that died was running commands on nodes, which may not have ended yet."""
    rows = journal.steps(row.id)
    return any(
        step.kind in ("stop", "upgrade", "start") and step.id in rows and rows[step.id].state == "running"
        for step in row.plan.steps()
    )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except SchemaBusy as error:
        raise Busy("busy", f"another runner is at work on this rollout: {error.message}") from error
    except SchemaUnreachable as error:
        raise Unreachable("journal_unreachable", f"the journal cannot be used: {error.message}") from error
    except SchemaError as error:
        raise RolloutError("journal_failed", f"the journal cannot be used: {error.message}") from error
