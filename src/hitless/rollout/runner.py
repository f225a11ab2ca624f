"""Executes a plan, step after step, so that it can be killed at any instant and begun again.

1. Before a step is begun that is written down, and after it what proved it. In between the runner may die: whoever resumes looks
   at the world (`state`) and goes on from what is so.
2. A step whose fact is there already is passed over, whoever made it so; one whose fact is gone again is done again.
3. No step begins after the lease was lost, after the rollout's deadline, or against a wish to pause or abort.
4. When a node of a batch fails, the others finish their turns; nothing new begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, ParamSpec, TypeVar

from hitless.change import Deadline, Events
from hitless.rollout.acts import Acts
from hitless.rollout.errors import Late, LeaseLost, RolloutError, Stopped
from hitless.rollout.journal import Journal, StepRow
from hitless.rollout.plan import OF_A_NODE, Kind, Plan, Step, Turn
from hitless.rollout.state import Hints, is_behind, next_kind
from hitless.rollout.timeouts import TOLD_S
from hitless.rollout.world import World
from hitless.schema.errors import SchemaError
from hitless.schema.lease import Lease
from hitless.serve import faults

P = ParamSpec("P")
T = TypeVar("T")
Wish = Literal["pause", "abort"]

GOES_ON: Final[tuple[Kind, ...]] = ("stop", "upgrade", "start", "probe", "ready")
"""A pause or an abort waits for a node that is out of service to come back; in front of these steps it is one."""
CAN_BE_LEFT: Final[tuple[Kind, ...]] = ("drain", "probe", "soak", "verify")
"""What need not be waited for: they only wait themselves."""
DONE: Final = ("done", "seen")
BOUNDARY: Final = "rollout.boundary"
"""The fault point before and after each write about a step: what the tests kill the runner at."""


@dataclass(frozen=True, slots=True)
class Work:
    """One rollout that is to be run, or run on."""

    id: int
    plan: Plan
    world: World
    journal: Journal
    acts: Acts
    lease: Lease
    events: Events


class Runner:
    """Runs one piece of work once."""

    def __init__(self, work: Work) -> None:
        self._id: Final = work.id
        self._plan: Final = work.plan
        self._world: Final = work.world
        self._journal: Final = work.journal
        self._acts: Final = work.acts
        self._lease: Final = work.lease
        self._events: Final = work.events
        self._settings: Final = work.world.rollout.settings
        self._overall: Final = Deadline.after(self._settings.deadlines.overall)
        self._writing: Final = asyncio.Lock()
        self._notes: Final[dict[str, str]] = {}
        self._rows: Mapping[str, StepRow] = {}
        self._wish: Wish | None = None
        self._leave: Final = asyncio.Event()
        """Set when what only waits is to be left at once."""

    def ask(self, wish: Wish, *, at_once: bool = False) -> None:
        """Pause or abort as soon as that leaves no node out of service; `at_once` leaves what only waits."""
        self._wish = "abort" if "abort" in (wish, self._wish) else "pause"
        if at_once or self._wish == "abort":
            self._leave.set()

    async def run(self) -> None:
        """Everything that is not so yet.

        Raises:
            Stopped: somebody asked for it.
            RolloutError: a step failed; what was done stays done.
        """
        self._rows = await self._in_thread(self._journal.steps, self._id)
        watching = asyncio.create_task(self._watch())
        try:
            for turn in self._plan.turns:
                self._events.emit("turn.started", turn=turn.name)
                await self._turn(turn)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _turn(self, turn: Turn) -> None:
        if len(turn.nodes) <= 1:
            await self._lane(turn.steps)
            return
        lanes = [self._lane(turn.of(node)) for node in turn.nodes]
        ended = await asyncio.gather(*lanes, return_exceptions=True)
        failures = [each for each in ended if isinstance(each, BaseException)]
        # A wish that stopped the others is no reason of its own beside a failure.
        for failure in sorted(failures, key=lambda each: isinstance(each, Stopped)):
            raise failure

    async def _lane(self, steps: Sequence[Step]) -> None:
        upcoming = await self._upcoming(steps)
        for step in steps:
            if await self._is_so(step, upcoming):
                if self._state_of(step) not in DONE:
                    await self._write(step, "seen", "it was so already")
                continue
            await self._at_boundary(step)
            await self._do(step)

    async def _upcoming(self, steps: Sequence[Step]) -> Kind | None:
        """Which of its node's steps comes next."""
        node = next((step.node for step in steps if step.kind in OF_A_NODE), None)
        if node is None:
            return None
        seen = await self._world.look(self._world.rollout.nodes[node])
        return next_kind(seen, self._plan.release, self._hints(node))

    def _hints(self, node: str) -> Hints:
        states = {
            kind: self._rows[f"{node}.{kind}"].state for kind in OF_A_NODE if f"{node}.{kind}" in self._rows
        }
        failed = states.get("probe") == "failed"
        return Hints(
            start_begun="start" in states and not failed,
            probes_failed=failed,
            has_soaked=states.get("soak") in DONE,
        )

    async def _is_so(self, step: Step, upcoming: Kind | None) -> bool:
        """Whether the step's fact is there, as far as it can be looked at before acting."""
        if step.kind in OF_A_NODE:
            return is_behind(step.kind, upcoming)
        if step.kind == "hook":
            return (
                self._state_of(step) == "done"
            )  # nobody can see whether a hook has run; the journal's word is all there is
        if step.kind in ("check", "verify") or self._world.data is None:
            return False
        if step.kind == "backup":
            return self._state_of(step) == "done" and await self._has_backup()
        state = await self._world.data.state()
        left = {
            "expand": bool(state.expand),
            "migrate": bool(any(state.pending.values()) or state.unknown),
            "contract": bool(state.contract),
        }
        return not left[step.kind]

    async def _has_backup(self) -> bool:
        assert self._world.data is not None
        return any(gate.name == "backup" and gate.holds for gate in await self._world.data.gates({}))

    async def _at_boundary(self, step: Step) -> None:
        faults.reach(BOUNDARY)
        try:
            self._lease.check()
        except SchemaError as error:
            raise LeaseLost("lease_lost", f"this runner stops before {step.id}: {error.message}") from error
        if self._overall.expired:
            raise Late(
                "overall_late",
                f"the rollout was not done within {self._overall.seconds:g} s, and stops before {step.id}; resume",
            )
        if step.kind not in GOES_ON:
            await self._heed()  # what was wished before a step begins comes before it
            if self._wish == "abort":
                raise Stopped("aborted", f"aborted before {step.id}")
            if self._wish == "pause":
                raise Stopped("paused", f"paused before {step.id}, as was asked")
        await self._hold(step)

    async def _hold(self, step: Step) -> None:
        """The pause that was ordered before contract, once."""
        database = self._settings.database
        if step.kind != "contract" or database is None or database.contract != "pause":
            return
        if self._state_of(step) is None:
            await self._write(step, "held", "waits for resume")
            raise Stopped(
                "before_contract",
                f"every node is on release {self._plan.release}; contract waits for: hitless rollout resume",
            )

    async def _do(self, step: Step) -> None:
        await self._write(step, "running")
        deadline = self._overall.sooner(step.deadline_s)
        try:
            proof = await self._unless_left(
                step, self._acts.of[step.kind](step, deadline, lambda note: self._told(step, note))
            )
        except Stopped as stopped:
            await self._write(step, "left", stopped.message)
            raise
        except RolloutError as error:
            await self._write(step, "failed", error.message)
            raise
        faults.reach(BOUNDARY)
        await self._write(step, "done", proof)

    async def _unless_left(self, step: Step, act: Coroutine[Any, Any, str] | Any) -> str:
        task = asyncio.ensure_future(act)
        if step.kind not in CAN_BE_LEFT:
            return str(await task)
        leaving = asyncio.create_task(self._leave.wait())
        try:
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self._wish == "abort" and step.kind in GOES_ON:
                await asyncio.wait({task})  # an abort leaves no node out of service that can come back
            if task.done():
                return str(task.result())
            raise Stopped(
                "aborted" if self._wish == "abort" else "paused",
                f"{step.id} was left in its middle, as was asked",
            )
        finally:
            for each in (task, leaving):
                each.cancel()
            await asyncio.gather(task, leaving, return_exceptions=True)

    def _told(self, step: Step, note: str) -> None:
        if self._notes.get(step.id) != note:
            self._notes[step.id] = note
            self._events.emit("step.told", step=step.id, note=note)

    async def _write(self, step: Step, state: str, note: str = "") -> None:
        self._notes.pop(step.id, None)
        await self._in_thread(self._journal.step, self._id, step.id, state, note)
        self._events.emit(f"step.{state}", step=step.id, node=step.node, kind=step.kind, note=note)
        faults.reach(BOUNDARY)

    async def _watch(self) -> None:
        """Wishes out of the journal, and notes into it."""
        while True:
            await asyncio.sleep(TOLD_S)
            with suppress(RolloutError):  # the next write of a step says it
                notes = dict(self._notes)
                await self._heed()
                if notes:
                    await self._in_thread(self._journal.note, self._id, notes)

    async def _heed(self) -> None:
        """Take up what somebody has wished in the journal."""
        wished = await self._in_thread(self._journal.wished, self._id)
        if wished in ("pause", "abort"):
            self.ask("abort" if wished == "abort" else "pause")

    def _state_of(self, step: Step) -> str | None:
        row = self._rows.get(step.id)
        return row.state if row is not None else None

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One at a time: SQLite has one writer, and rows of one step must not pass each other."""
        async with self._writing:
            return await asyncio.to_thread(work, *args, **kwargs)
