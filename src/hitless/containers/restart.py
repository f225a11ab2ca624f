"""One container stopped and started again, in two halves: between them its users are stopped and what it uses is started.

What is under way is written down, as for a replacement without a new container, so that a Hitless that is killed between
the halves leaves nobody down: the next one starts it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from hitless.change import Status
from hitless.containers.aftermath import ADMIT_S, is_ending, readiness
from hitless.containers.aside import PolicyHeld
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import Container
from hitless.containers.drain import admitted
from hitless.containers.errors import ContainersError, EngineError
from hitless.containers.health import NotHealthy, started
from hitless.containers.outcome import Ended, StopOutcome
from hitless.containers.oversight import Desk
from hitless.containers.target import Target
from hitless.containers.unbegun import label_of, not_begun

if TYPE_CHECKING:
    from hitless.containers.fleet import Fleet


class Restart:
    """Of one container, which is ours if `table` is one; `down`, then `up`."""

    def __init__(self, fleet: Fleet, target: Target, table: Desk | ContainersError) -> None:
        self._fleet: Final = fleet
        self._target: Final = target
        self._table: Final = table
        self._aside: PolicyHeld | None = None
        self._stop = StopOutcome(target.name, target.container.id, Ended.REFUSED, "cancelled", "")
        self._stopped_at = 0.0
        self._row: int | None = None

    async def down(self, used: StopOutcome | None) -> StopOutcome:
        """Stop it, unless `used` says that this may not be."""
        self._row = await self._fleet.began("restart", self._target)
        self._stop = used or await self._stopped()
        self._stopped_at = time.monotonic()
        return self._stop

    async def up(self) -> ChangeOutcome:
        """Start it again, if it was stopped, and wait until it serves."""
        outcome = await self._up()
        await self._fleet.told(self._row, outcome)
        return outcome

    async def _stopped(self) -> StopOutcome:
        if isinstance(self._table, ContainersError):
            return not_begun(self._target, self._table)
        try:
            self._fleet.intents.check(self._target.name, self._target.container.id)
            container = await self._fleet.ours(self._target)
            self._fleet.intents.put(self._target.name, self._intent(container))
            self._aside = PolicyHeld(self._fleet.engine, container, self._fleet.intents)
            return await self._fleet.stopped(container, self._target, self._table, self._aside)
        except ContainersError as error:
            return not_begun(self._target, error)

    async def _up(self) -> ChangeOutcome:
        if not self._stop.is_stopped or self._stop.reason in ("gone", "removed"):
            await self._settle()
            return self._outcome(
                Status.REJECTED, self._stop.reason, f"was not restarted: {self._stop.message}"
            )
        try:
            await self._start()
        except (NotHealthy, EngineError) as error:
            reason = error.reason if isinstance(error, NotHealthy) else label_of(error)
            log = await self._log()
            await self._settle()
            return self._outcome(
                Status.REJECTED, reason, f"was stopped, and does not serve again: {error}", log=log
            )
        down_s = time.monotonic() - self._stopped_at
        failures = await self._admit()
        await self._settle()
        if failures:
            message = f"is restarted, and gets no work: {'; '.join(failures)}"
            return self._outcome(Status.APPLIED, "still_drained", message, down_s=down_s)
        return self._outcome(Status.APPLIED, None, "is restarted, and serves", down_s=down_s)

    async def _start(self) -> None:
        limits, id_ = self._target.parameters, self._target.container.id
        self._fleet.events.emit(
            "container.starting",
            container=self._target.name,
            message="starting it again",
            seconds=limits.ready_s,
        )
        await started(
            self._fleet.engine, self._fleet.hub, id_, ready_s=limits.ready_s, settle_s=limits.settle_s
        )

    async def _admit(self) -> list[str]:
        drains = self._target.parameters.sequence.drains
        found = await self._fleet.engine.find(self._target.container.id) if drains else None
        return [] if found is None else await admitted(drains, self._fleet.engine, found, ADMIT_S)

    async def _settle(self) -> None:
        """Restore the restart policy. What is written down stays if the container may still end by a signal it was sent: then the
        next Hitless starts it."""
        if self._aside is None or not await self._aside.release():
            return
        name = self._target.name
        intent = self._fleet.intents.get(name) or {}
        try:
            found = await self._fleet.engine.find(self._target.container.id)
        except EngineError:
            return
        if self._stop.is_stopped or not is_ending(found, intent):
            self._fleet.intents.remove(name)

    async def _log(self) -> tuple[str, ...]:
        try:
            found = await self._fleet.engine.inspect(self._target.container.id)
            return await self._fleet.engine.log_tail(found)
        except EngineError:
            return ()

    def _intent(self, container: Container) -> dict[str, object]:
        sequence = self._target.parameters.sequence
        return {
            "what": "replace",
            "verb": "restart",
            "phase": "begun",
            "id": container.id,
            "new": "",
            "policy": container.policy.to_json(),
            "was_running": True,
            "within_s": sequence.total_s,
            "ready": readiness(sequence.drains),
        }

    def _outcome(
        self,
        status: Status,
        reason: str | None,
        does: str,
        *,
        down_s: float = 0.0,
        log: tuple[str, ...] = (),
    ) -> ChangeOutcome:
        return ChangeOutcome(
            container=self._target.name,
            status=status,
            reason=reason,
            message=f"{self._target.name} {does}",
            id=self._target.container.id,
            stop=self._stop,
            seconds=self._stop.seconds + down_s,
            down_s=down_s,
            log=log,
        )
