"""A change is a transaction: plan, prepare, commit, record. This is the one place that says in which order.

    plan ──► begin row ──► prepare ──► commit ──► outcome      applied
      │          │            │           │
      │          │            │           └─ fails: undo, discard      rolled_back
      │          │            └─ fails, late, cancelled: discard       rejected
      └──────────┴─ nothing has been built yet                         rejected

Exactly one of the old and the new serves at every step. `discard` is called once if `prepare` was begun and
the change did not come to be applied, and otherwise never. A task that is cancelled while it runs a change
takes the change back if it is not yet being committed, and otherwise sees it through; either way the
cancellation goes on only when the change has ended and is recorded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from hitless.change.deadline import Deadline
from hitless.change.ending import the_end_of, to_refusal
from hitless.change.entry import Drained
from hitless.change.events import Events
from hitless.change.journal import Journal, JournalUnwritable
from hitless.change.outcome import Outcome, Refused, Status
from hitless.change.plan import Kind, Plan
from hitless.change.scribe import UNWRITABLE, Scribe
from hitless.change.wire import JSON

log = logging.getLogger(__name__)

T = TypeVar("T")
P = TypeVar("P")

COMMIT_TIMEOUT_S: Final = 30.0
"""For a commit, and again for undoing it: a swap that takes longer has gone wrong."""
DISCARD_TIMEOUT_S: Final = 30.0
CANCELLED: Final = "the request was cancelled before the change was committed"


class Change(Protocol[P]):
    """What a kind of change (a reload of workers, of drivers, of pipelines) must be able to do."""

    @property
    def kind(self) -> Kind: ...

    def plan(self) -> Plan:
        """What would be done. Pure: called without consequence, as often as wanted.

        Raises:
            Refused: this change must not be made.
        """

    async def prepare(self, plan: Plan, deadline: Deadline) -> P:
        """Build the new beside the old, up to ready; the old notices nothing.

        Raises:
            Refused: the new cannot be made.
            DeadlinePassed: not in time.
        """

    async def commit(self, plan: Plan, prepared: P) -> None:
        """The one swap: after it, all new work goes to the new generation."""

    async def undo(self, plan: Plan, prepared: P) -> None:
        """The commit failed half-way: give all new work back to the old generation. `discard` follows."""

    async def discard(self, plan: Plan, prepared: P | None) -> None:
        """Throw the new away. `prepared` is None if prepare did not return: then it is what was built so far."""


class ChangeInProgress(Exception):
    """One change at a time; `what` says which one is going on."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is in progress; try again when it has ended")
        self.what: Final = what


class Transactions:
    """Runs changes, one at a time, and records every one of them.

    Events: `change.started`, `change.prepared`, `change.committed`, `change.unchanged`, `change.rejected`,
    `change.rolled_back`, `change.drained`; and `journal.unwritable` when an end could not be written.
    """

    def __init__(self, journal: Journal, events: Events, *, generation: int = 0) -> None:
        self._scribe: Final = Scribe(journal, events)
        self._events: Final = events
        self._generation = generation
        self._busy: str | None = None
        self._attempt: _Attempt[Any] | None = None
        self._freed: Final = asyncio.Event()

    @property
    def busy(self) -> str | None:
        """What is going on, for people ("a reload, asked for by uid 0,"), or None."""
        return self._busy

    @property
    def generation(self) -> int:
        """The generation that serves; 0 before the first start."""
        return self._generation

    def resume(self, generation: int) -> None:
        """This generation serves, since before this program began."""
        self._generation = generation

    async def flush(self) -> None:
        """Write what the journal does not have yet, if it can be written."""
        await self._scribe.flush()

    async def idle(self) -> None:
        """Wait until no change is in progress. No other task comes between its return and a `run` right after it."""
        while self._busy is not None:
            self._freed.clear()
            await self._freed.wait()

    def give_up(self) -> None:
        """Take back the change that is in progress, if there is one and it is not yet being committed. It
        ends soon: wait for `idle`.
        """
        if self._attempt is not None:
            self._attempt.give_up()

    async def run(self, change: Change[P], *, requested_by: str, deadline_s: float) -> Outcome:
        """Make the change, and say how it ended. `deadline_s` bounds prepare, from its beginning.

        Raises:
            ChangeInProgress: another one is; this one was not begun and is not recorded.
        """
        if self._busy is not None:
            raise ChangeInProgress(self._busy)
        self._busy = (
            f"{'an' if change.kind == 'upgrade' else 'a'} {change.kind} (asked for by {requested_by})"
        )
        attempt = _Attempt(
            change, self._scribe, self._events, generation=self._generation, deadline_s=deadline_s
        )
        self._attempt = attempt
        task = asyncio.create_task(attempt.run(requested_by))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            attempt.give_up()
            while not task.done():  # every phase of it has a deadline of its own
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            raise
        finally:
            self._generation = attempt.generation
            self._busy = self._attempt = None
            self._freed.set()

    async def drained(
        self, change: int | None, *, finished: int, handed_over: int, cut: int, seconds: float
    ) -> None:
        """Record how the work of the generation that `change` (`Outcome.change`) replaced has ended."""
        drained = Drained(finished=finished, handed_over=handed_over, cut=cut, seconds=seconds)
        self._events.emit("change.drained", change=change, **asdict(drained))
        await self._scribe.drained(change, drained)

    def close(self) -> None:
        self._scribe.close()


class _Attempt(Generic[P]):
    """One run of one change. Every failure becomes a Refused: a reason label and a sentence."""

    def __init__(
        self, change: Change[P], scribe: Scribe, events: Events, *, generation: int, deadline_s: float
    ) -> None:
        self._change: Final = change
        self._scribe: Final = scribe
        self._events: Final = events
        self._deadline_s: Final = deadline_s
        self._timings: Final[dict[str, float]] = {}
        self._row: int | None = None
        self._preparing: asyncio.Task[P] | None = None
        self._is_given_up = False
        self._is_prepare_begun = False
        self.generation = generation

    def give_up(self) -> None:
        """Take the change back if it is not yet being committed."""
        self._is_given_up = True
        if self._preparing is not None:
            self._preparing.cancel()

    async def run(self, requested_by: str) -> Outcome:
        plan, refusal = self._plan()
        try:
            self._row = await self._scribe.begin(plan, requested_by)
        except JournalUnwritable as error:
            refusal = refusal or Refused(UNWRITABLE, str(error))
        differences = [each.to_json() for each in plan.differences]
        asked = {
            "requested_by": requested_by,
            "attempted_hash": plan.attempted_hash,
            "differences": differences,
            **({} if plan.how is None else {"how": plan.how, "why": plan.why}),
        }
        self._emit("change.started", plan, **asked)
        outcome = self._rejected(refusal) if refusal else await self._make(plan)
        outcome = replace(outcome, change=self._row)
        verb = "committed" if outcome.status is Status.APPLIED else outcome.status.value
        self._emit(
            f"change.{verb}",
            plan,
            reason=outcome.reason,
            message=outcome.message,
            timings=dict(self._timings),
        )
        await self._scribe.finish(self._row, outcome, self._timings)
        return outcome

    def _plan(self) -> tuple[Plan, Refused | None]:
        began = time.monotonic()
        try:
            return self._change.plan(), None
        except Exception as error:  # noqa: BLE001 - a bug in planning must end as a refusal with its traceback
            refusal = to_refusal(error)
            nowhere = Plan(
                kind=self._change.kind,
                from_generation=self.generation,
                to_generation=self.generation,
                differences=refusal.differences,
            )
            return nowhere, refusal
        finally:
            self._timings["plan"] = time.monotonic() - began

    async def _make(self, plan: Plan) -> Outcome:
        if plan.changes_nothing:
            return Outcome.unchanged(self.generation)
        try:
            prepared = await self._prepare(plan)
        except Refused as refusal:
            return self._rejected(refusal)
        self._emit("change.prepared", plan, seconds=self._timings["prepare"])
        failure = await self._finished("commit", self._change.commit(plan, prepared), COMMIT_TIMEOUT_S)
        if failure is None:
            self.generation = plan.to_generation
            return Outcome.applied(self.generation, plan.done())
        return await self._take_back(plan, prepared, failure)

    async def _prepare(self, plan: Plan) -> P:
        """The new, ready.

        Raises:
            Refused: it could not be made, and nothing of it is left.
        """
        if self._is_given_up:
            raise Refused("cancelled", CANCELLED)
        deadline = Deadline.after(self._deadline_s)
        self._preparing = asyncio.create_task(self._begin_prepare(plan, deadline))
        ended = await the_end_of(
            self._preparing, deadline, f"generation {plan.to_generation} did not become ready"
        )
        self._timings["prepare"] = ended.seconds
        failure = Refused("cancelled", CANCELLED) if self._is_given_up else ended.failure
        if failure is None:
            return cast("P", ended.result)
        if self._is_prepare_begun:
            await self._discard(plan, ended.result)
        raise failure

    async def _begin_prepare(self, plan: Plan, deadline: Deadline) -> P:
        self._is_prepare_begun = True  # a task that is cancelled before its first step never comes here
        return await self._change.prepare(plan, deadline)

    async def _take_back(self, plan: Plan, prepared: P, failure: Refused) -> Outcome:
        undo_failure = await self._finished("undo", self._change.undo(plan, prepared), COMMIT_TIMEOUT_S)
        await self._discard(plan, prepared)
        reason, message, detail = failure.reason, failure.message, failure.detail
        if undo_failure is not None:
            reason = "undo_failed"
            message = f"{message}; and it could not be undone: {undo_failure.message}"
            detail = f"{detail}\n{undo_failure.detail}".strip()
        return Outcome.rolled_back(self.generation, reason=reason, message=message, detail=detail)

    async def _discard(self, plan: Plan, prepared: P | None) -> None:
        failure = await self._finished("discard", self._change.discard(plan, prepared), DISCARD_TIMEOUT_S)
        if failure is not None:
            log.error(
                "what was built for a rejected change was not all thrown away: %s\n%s",
                failure,
                failure.detail,
            )

    async def _finished(self, phase: str, work: Coroutine[Any, Any, None], seconds: float) -> Refused | None:
        """Run a phase that must not be broken off by a cancellation from outside; None if it went well."""
        ended = await the_end_of(
            asyncio.create_task(work), Deadline.after(seconds), f"the {phase} did not end"
        )
        self._timings[phase] = ended.seconds
        return ended.failure

    def _rejected(self, refusal: Refused) -> Outcome:
        return Outcome.rejected(
            self.generation,
            reason=refusal.reason,
            message=refusal.message,
            detail=refusal.detail,
            invalid=refusal.invalid,
        )

    def _emit(self, name: str, plan: Plan, **fields: JSON) -> None:
        self._events.emit(
            name,
            change=self._row,
            kind=plan.kind,
            from_generation=plan.from_generation,
            to_generation=plan.to_generation,
            **fields,
        )
