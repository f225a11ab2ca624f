"""A runtime in the hands of its host: one step of a change at a time, so that many processes change together or not at all.

look      what the sources would change here; nothing moves
prepare   build and warm the new beside the old                     may be refused
settle    updates in place, exclusive resources, adopt              may be refused
swap      the one swap; nothing in it waits, nothing in it can fail
undo      give back what settle did; then discard
discard   throw the new away

The host goes on to the next step only when every process has done this one, and says `swap` to all only when all have settled.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pydantic import BaseModel

from hitless.change import JSON, Deadline, Plan, Refused
from hitless.config import plain
from hitless.live.change import Prepared, Reconfiguration
from hitless.live.foreign import watched
from hitless.live.reading import revived
from hitless.live.status import drains_of
from hitless.live.wish import Wish

if TYPE_CHECKING:
    from hitless.live.service import Service

S = TypeVar("S", bound=BaseModel)
T = TypeVar("T")

SETTLE_S: Final = 12.0
"""For updates in place, and for stopping and starting what is exclusive; shorter than alone, because others wait for it."""


class Hosted(Generic[S]):
    """The steps of one change after the other. May be called from another loop than the runtime's own."""

    def __init__(self, service: Service[S]) -> None:
        self._service: Final = service
        self._change: Reconfiguration[S] | None = None
        self._wish: Wish[S] | None = None
        self._plan: Plan | None = None
        self._prepared: Prepared | None = None
        self._is_settled = False
        self._one_step: Final = asyncio.Lock()
        """A step that is broken off may still be putting things into order when the next one comes."""

    @property
    def name(self) -> str:
        return self._service.runtime.name or "live"

    @property
    def hash(self) -> str:
        applied = self._service.applied
        return "" if applied is None else applied.hash

    def settings(self) -> str | None:
        """The settings that are in force, as JSON, secrets included; None if they cannot be passed on to other processes."""
        applied = self._service.applied
        return None if applied is None else self._carried(applied)

    def _carried(self, wish: Wish[S]) -> str | None:
        """None for a model that does not read what it writes: a process that starts with it would not be like the others."""
        text = json.dumps(plain(wish.settings))
        try:
            return text if self._wish_of(text).settings == wish.settings else None
        except Refused:
            return None

    def exclusive(self) -> list[str]:
        """What only one process can have at a time, of what its resources have."""
        current = self._service.parts.leases.current
        found = {} if current is None else current.instances
        return sorted({each.node.conflict for each in found.values() if each.node.conflict is not None})

    def drains(self) -> list[dict[str, Any]]:
        """As `hitless status` shows them."""
        return drains_of(self._service.parts.drains)

    def reports(self) -> dict[str, Any]:
        """What the program adds to its status."""
        return {name: report() for name, report in self._service.runtime.reports.items()}

    async def look(self, settings: str | None = None) -> tuple[dict[str, JSON], str | None]:
        """What putting `settings` (JSON) in force would do here, or those of the sources, and the settings themselves."""
        return await self._at_home(self._look(settings))

    async def prepare(self, settings: str, timeout_s: float) -> None:
        """Raises Refused: nothing is left of it."""
        await self._at_home(self._alone(self._prepare(settings, timeout_s)))

    async def settle(self) -> None:
        """Raises Refused: `undo` and `discard` follow."""
        await self._at_home(self._alone(self._settle()))

    async def swap(self) -> None:
        await self._at_home(self._alone(self._swap()))

    async def undo(self) -> None:
        """Raises Refused: something could not be taken back."""
        await self._at_home(self._alone(self._undo()))

    async def discard(self) -> None:
        await self._at_home(self._alone(self._discard()))

    async def _alone(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await self._one_step.acquire()
        except BaseException:
            work.close()
            raise
        try:
            await work
        finally:
            self._one_step.release()

    async def _look(self, settings: str | None) -> tuple[dict[str, JSON], str | None]:
        service = self._service
        asked = (await service.read())[0] if settings is None else self._wish_of(settings)
        if isinstance(asked, Refused):
            return _refusal(asked), None
        before = service.applied
        found: dict[str, JSON] = {
            "hash": asked.hash,
            "differences": [each.to_json() for each in asked.differences(before)],
            "restart": list(asked.restarting(before)),
        }
        carried = self._carried(asked)
        found["carried"] = carried is not None
        if carried is not None and not found["restart"]:
            try:
                plan = Reconfiguration(
                    service.parts, asked, before, kind="reload", number=service.transactions.generation + 1
                ).plan()
            except Refused as refused:
                return _refusal(service.parts.veil.refusal(refused)), None
            found["steps"] = list(plan.steps)
            found["unchanged"] = plan.changes_nothing
        return found, carried

    async def _prepare(self, settings: str, timeout_s: float) -> None:
        service = self._service
        wish = self._wish = self._wish_of(settings)
        service.attempted_hash = wish.hash
        service.parts.veil.learn(wish.leaves)
        change = self._change = Reconfiguration(
            service.parts, wish, service.applied, kind="reload", number=service.transactions.generation + 1
        )
        plan = self._plan = change.plan()
        deadline = Deadline.after(timeout_s)
        ended = await watched(change.prepare(plan, deadline), deadline, "what is new was not ready")
        if ended.failure is not None:
            await change.discard(plan, ended.result)
            self._change = None
            raise ended.failure
        self._prepared = ended.result

    def _wish_of(self, settings: str) -> Wish[S]:
        return Wish.of(revived(self._service.runtime.model, settings))

    async def _settle(self) -> None:
        change, plan, prepared = self._begun()
        self._is_settled = True
        ended = await watched(
            change.settle(plan, prepared), Deadline.after(SETTLE_S), "the commit did not end"
        )
        if ended.failure is not None:
            raise ended.failure

    async def _swap(self) -> None:
        change, _, prepared = self._begun()
        assert self._wish is not None
        change.swap(prepared)
        self._forget()
        self._service.swapped(self._wish)

    async def _undo(self) -> None:
        if self._change is not None and self._is_settled:
            change, plan, prepared = self._begun()
            ended = await watched(
                change.undo(plan, prepared), Deadline.after(SETTLE_S), "the undo did not end"
            )
            if ended.failure is not None:
                raise ended.failure

    async def _discard(self) -> None:
        change, plan, prepared = self._change, self._plan, self._prepared
        self._forget()
        if change is not None and plan is not None:
            await change.discard(plan, prepared)

    def _begun(self) -> tuple[Reconfiguration[S], Plan, Prepared]:
        assert self._change is not None, (
            "a change is prepared before it is settled, and settled before the swap"
        )
        assert self._plan is not None
        assert self._prepared is not None
        return self._change, self._plan, self._prepared

    def _forget(self) -> None:
        self._change, self._plan, self._prepared, self._is_settled = None, None, None, False

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the runtime's loop; cancelling this cancels it."""
        home = self._service.loop
        if asyncio.get_running_loop() is home:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, home))


def _refusal(refused: Refused) -> dict[str, JSON]:
    return {
        "refused": {"reason": refused.reason, "message": refused.message, "invalid": refused.invalid},
    }
