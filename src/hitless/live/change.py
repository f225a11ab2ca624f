"""The changes of a live service, as transactions: this file says in which order things are done and taken back.

prepare   ask the hooks · build and warm what can be beside the old · quiesce what must be stopped first
commit    update in place · stop the old, build the new of those · adopt · swap
undo      close the late ones, open the old again · take the updates back
discard   close what was built · let everybody go on
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from hitless.change import Deadline, Difference, Kind, Plan, Refused
from hitless.live.assembly import Assembly
from hitless.live.blueprint import Blueprint, Move, blueprint
from hitless.live.instance import Instance, Phase
from hitless.live.parts import Parts
from hitless.live.snapshot import Snapshot
from hitless.live.stopping import Stopping
from hitless.live.updates import Updates
from hitless.live.wish import Wish

S = TypeVar("S", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The new, ready for the swap."""

    assembly: Assembly
    stopping: Stopping
    updates: Updates


class Reconfiguration(Generic[S]):
    """From the current generation, with the settings `applied`, to one with those of `wish`."""

    def __init__(
        self, parts: Parts, wish: Wish[S] | Refused, applied: Wish[S] | None, *, kind: Kind, number: int
    ) -> None:
        self._parts: Final = parts
        self._wish: Final = wish
        self._applied: Final = applied
        self._kind: Final = kind
        self._number: Final = number
        self._before: Final[Snapshot[S] | None] = parts.leases.current
        self._blueprint: Blueprint | None = None
        self._begun: Prepared | None = None

    @property
    def kind(self) -> Kind:
        return self._kind

    def plan(self) -> Plan:
        wish, before = self._wish, self._before
        if isinstance(wish, Refused):
            raise wish
        differences = wish.differences(self._applied)
        if restarting := wish.restarting(self._applied):
            raise _restart_needed(restarting, differences)
        self._blueprint = draft = blueprint(
            self._parts.graph.expand(wish.settings), self._current(), self._parts.drains.leaving
        )
        return Plan(
            kind=self._kind,
            from_generation=before.number if before else 0,
            to_generation=self._number,
            differences=differences,
            applied_hash=self._applied.hash if self._applied is not None else None,
            attempted_hash=wish.hash,
            steps=draft.steps(),
            settings=wish.masked,
            changes_nothing=draft.changes_nothing and wish.is_same(self._applied),
        )

    async def prepare(self, plan: Plan, deadline: Deadline) -> Prepared:
        return await self._veiled(self._prepare(deadline))

    async def commit(self, plan: Plan, prepared: Prepared) -> None:
        await self.settle(plan, prepared)
        self.swap(prepared)

    async def settle(self, plan: Plan, prepared: Prepared) -> None:
        """Everything of the commit that may fail, up to the swap. `undo` takes it back. Raises Refused."""
        await self._veiled(self._settle(prepared))

    async def undo(self, plan: Plan, prepared: Prepared) -> None:
        await self._veiled(self._undo(prepared))

    async def discard(self, plan: Plan, prepared: Prepared | None) -> None:
        begun = prepared or self._begun
        if begun is not None:
            begun.stopping.resume()
            begun.stopping.open()
            await begun.assembly.close()

    async def _prepare(self, deadline: Deadline) -> Prepared:
        draft, wish = self._planned()
        parts = self._parts
        if self._before is not None:
            await parts.hooks.prepare(self._before.settings, wish.settings)
        assembly = Assembly(parts, draft, self._current(), number=self._number)
        stopping = Stopping(parts, draft.stopped)
        self._begun = Prepared(assembly, stopping, Updates(parts.maker))
        early = [row.id for row in draft.only(Move.BUILD, Move.REBUILD) if row.id not in draft.late]
        await assembly.build(early)
        await stopping.quiesce(deadline)
        return self._begun

    async def _settle(self, prepared: Prepared) -> None:
        draft, _ = self._planned()
        assembly, nodes = prepared.assembly, draft.wanted.nodes
        for each in assembly.built:
            self._parts.check(each)
        updates = [(assembly.instances[row.id], nodes[row.id]) for row in draft.only(Move.UPDATE)]
        await prepared.updates.apply(updates)
        if draft.stopped:
            await prepared.stopping.stop()
            await assembly.build([node_id for node_id in nodes if node_id in draft.late])
        for row in draft.only(Move.REBUILD):
            await self._adopt(assembly.instances[row.id])

    async def _undo(self, prepared: Prepared) -> None:
        failures = []
        if self._planned()[0].stopped:
            await prepared.assembly.close()
        for take_back in (prepared.stopping.reopen, prepared.updates.take_back):
            try:
                await take_back()
            except Refused as refused:
                failures.append(refused)
        if failures:
            detail = "\n".join(each.detail for each in failures)
            raise Refused("undo_failed", "; ".join(each.message for each in failures), detail)

    async def _adopt(self, new: Instance) -> None:
        declaration, old = new.node.spec.declaration, self._wanted_before(new)
        if declaration.adopt is not None and old is not None:
            await self._parts.maker.adopt(declaration, new.made, old.made, str(new.id))

    def _wanted_before(self, new: Instance) -> Instance | None:
        """The instance in whose place the new one comes; one that was stopped is not in the generation any more."""
        draft, _ = self._planned()
        stopped = next((each for each in draft.stopped if each.id == new.id and each.last is None), None)
        return stopped or self._current().get(new.id)

    def swap(self, prepared: Prepared) -> None:
        """The one swap. Nothing in it waits, and nothing in it can fail."""
        draft, wish = self._planned()
        parts, before, assembly = self._parts, self._before, prepared.assembly
        snapshot = Snapshot(
            self._number, wish.settings, draft.wanted, assembly.instances, parts.graph.name_of
        )
        dropped = [self._current().get(row.id) for row in draft.only(Move.REBUILD, Move.CLOSE)]
        for each in assembly.built:
            each.move(Phase.ACTIVE)
        with parts.leases.lock:
            parts.leases.generations.append(snapshot)
            parts.leases.current = snapshot
        prepared.stopping.open()
        if before is None:
            return
        for old in dropped:
            if old is not None:
                old.leave(before.number)
                parts.drains.leaving.append(old)
        parts.drains.begin(before, parts.limits.drain_s)

    def _current(self) -> Mapping[tuple[str, str | None], Instance]:
        return self._before.instances if self._before is not None else {}

    def _planned(self) -> tuple[Blueprint, Wish[S]]:
        assert self._blueprint is not None, "a change is planned before it is prepared"
        assert not isinstance(self._wish, Refused)
        return self._blueprint, self._wish

    async def _veiled(self, work: Coroutine[Any, Any, T]) -> T:
        """Keeps secrets out of what is told when the work is refused."""
        try:
            return await work
        except Refused as refused:
            raise self._parts.veil.refusal(refused) from None


def _restart_needed(restarting: Collection[str], differences: tuple[Difference, ...]) -> Refused:
    told = "; ".join(str(each) for each in differences if each.key in restarting) or ", ".join(restarting)
    return Refused(
        "restart_needed",
        f"{told}: takes effect in a new process only (declared reload=restart); restart the program,"
        " or run it by hitless run or hitless serve, which start a new one beside it",
        differences=differences,
    )
