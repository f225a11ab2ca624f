"""The part of a change that must stop the old before the new can start: last in order, and with a way back.

quiesce ──► stop ──► (the new is built) ──► open
   │          │              │
   │          └──────────────┴─ fails: reopen the old, then open
   └─ users do not finish: resume, then open
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from hitless.change import Deadline, Refused
from hitless.live.gate import Gate
from hitless.live.instance import Instance, Phase, given
from hitless.live.lease import Lease
from hitless.live.parts import Parts
from hitless.live.snapshot import Snapshot
from hitless.live.timeouts import Quiesce

SHOWN: Final = 5
"""Users that are named when they do not finish."""


class Stopping:
    """The instances that one change stops first; each comes before those that it needs."""

    def __init__(self, parts: Parts, instances: Iterable[Instance]) -> None:
        self._parts: Final = parts
        self._instances: Final = list(instances)
        self._paused: Final[list[Instance]] = []
        self._removed: Final[list[tuple[Snapshot[Any], Instance]]] = []
        self._gate: Gate | None = None

    async def quiesce(self, deadline: Deadline) -> None:
        """Hold back new users, and let those that there are finish. Nothing is stopped yet.

        Raises:
            Refused: they did not finish in time; call `resume`.
        """
        if not self._instances:
            return
        leases, policy = self._parts.leases, _strictest(self._instances)
        gate = self._gate = Gate({each.id for each in self._instances}, policy)
        with leases.lock:
            leases.gate = gate
            snapshots = list(leases.generations)
        for each in self._instances:
            if each.phase is Phase.ACTIVE:
                each.move(Phase.DRAINING)
                self._paused.append(each)
        self._parts.events.emit("resource.quiescing", resources=[str(each.id) for each in self._instances])
        deadline = deadline.sooner(policy.drain_s)
        if not await self._parts.drains.until(snapshots, lambda: not self._users(gate), deadline, every=True):
            held = self._users(gate)
            shown = ", ".join(f"{lease.what} at {lease.where}" for lease in held[:SHOWN])
            names = ", ".join(str(each.id) for each in self._instances)
            raise Refused("still_used", f"{names}: still used after {deadline.seconds:g} s by {shown}")

    async def stop(self) -> None:
        """Close the old ones. Their users have left. Raises Refused: a close hangs."""
        leases, leaving = self._parts.leases, self._parts.drains.leaving
        with leases.lock:
            for snapshot in leases.generations:
                for each in self._instances:
                    if snapshot.instances.get(each.id) is each:
                        del snapshot.instances[each.id]
                        self._removed.append((snapshot, each))
        self._paused.clear()
        for each in self._instances:
            if each in leaving:
                leaving.remove(each)
        await self._parts.closer.close([each for each in self._instances if each.phase is not Phase.CLOSED])
        for each in self._instances:
            await each.closed.wait()
        hung = [str(each.id) for each in self._instances if not each.over.is_set()]
        if hung:
            raise Refused(
                "close_hangs",
                f"the close of {', '.join(hung)} did not end; what only one can have is not opened a second time",
            )

    async def reopen(self) -> None:
        """Build again what was stopped, from what it was built from, those that are needed first.

        Raises:
            Refused: some could not be built; they are missing until a change builds them.
        """
        again: dict[Instance, Instance] = {}
        failures: list[Refused] = []
        for each in reversed(self._instances):
            try:
                await self._reopen(each, again)
            except Refused as refused:
                failures.append(refused)
        self._removed.clear()
        if failures:
            first, messages = failures[0], "; ".join(each.message for each in failures)
            raise Refused(first.reason, messages, "\n".join(each.detail for each in failures if each.detail))

    async def _reopen(self, old: Instance, again: dict[Instance, Instance]) -> None:
        snapshots = [snapshot for snapshot, removed in self._removed if removed is old]
        current = self._parts.leases.current
        if current is not None and current in snapshots:
            current.lost.add(old.id)
            again[old] = await self._reopened(old, again)
            current.lost.discard(old.id)
            with self._parts.leases.lock:
                for snapshot in snapshots:
                    snapshot.instances[old.id] = again[old]

    async def _reopened(self, old: Instance, again: dict[Instance, Instance]) -> Instance:
        links = {
            parameter: {key: again.get(each, each) for key, each in target.items()}
            if isinstance(target, dict)
            else again.get(target, target)
            for parameter, target in old.links.items()
        }
        if any(each.phase is Phase.CLOSED for each in given(links)):
            raise Refused("reopen_failed", f"{old.id} could not be opened again: what it needs is closed")
        instance = await self._parts.built(old.node, links, first=old.first)
        instance.move(Phase.ACTIVE)
        self._parts.events.emit("resource.reopened", resource=str(old.id))
        return instance

    def resume(self) -> None:
        """Nothing was stopped: the old ones go on."""
        for each in self._paused:
            each.move(Phase.ACTIVE)
        self._paused.clear()

    def open(self) -> None:
        """Let those who wait go on."""
        gate, self._gate = self._gate, None
        if gate is not None:
            with self._parts.leases.lock:
                self._parts.leases.gate = None
            gate.open()

    def _users(self, gate: Gate) -> list[Lease[Any]]:
        with self._parts.leases.lock:
            held = [lease for snapshot in self._parts.leases.generations for lease in snapshot.held]
        return [lease for lease in held if gate.covers(lease.id)]


def _strictest(instances: Iterable[Instance]) -> Quiesce:
    stated = [each.node.spec.declaration.quiesce for each in instances]
    policies = [each for each in stated if each is not None]
    return Quiesce(
        drain_s=min(each.drain_s for each in policies),
        wait_s=min(each.wait_s for each in policies),
        queue_limit=min(each.queue_limit for each in policies),
    )
