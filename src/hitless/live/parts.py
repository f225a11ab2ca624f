"""What every change of one runtime works with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from traceback import format_exception
from typing import Any

from hitless.change import Events, Refused
from hitless.live.closing import Closer
from hitless.live.drains import Drains
from hitless.live.graph import Graph
from hitless.live.hooks import Hooks
from hitless.live.instance import Instance, Phase, objects
from hitless.live.lease import Leases
from hitless.live.making import Maker
from hitless.live.node import Node
from hitless.live.timeouts import Limits
from hitless.live.veil import Veil


@dataclass(frozen=True, slots=True)
class Parts:
    graph: Graph
    leases: Leases
    maker: Maker
    closer: Closer
    drains: Drains
    hooks: Hooks
    events: Events
    limits: Limits
    veil: Veil
    slots: asyncio.Semaphore
    """For builds."""

    async def built(self, node: Node, links: Mapping[str, Any], *, first: int) -> Instance:
        """The instance, built and not yet asked whether it is healthy. Raises Refused."""
        self.closer.lingering.check(node)
        inputs = {**node.values, **objects(links)}
        made = await self.maker.build(node.spec.declaration, inputs, str(node.id))
        instance = Instance(node, links, made, first=first)
        if made.keeper is not None:
            made.keeper.add_done_callback(lambda _: self._kept_no_more(instance))
        return instance

    async def warmed(self, instance: Instance) -> None:
        """Ask whether it is healthy. Raises Refused."""
        await self.maker.warm(instance.node.spec.declaration, instance.made, str(instance.id))
        self.check(instance)

    def check(self, instance: Instance) -> None:
        """Raises Refused: it has failed since it was built."""
        if (failure := instance.made.failure) is not None:
            place = instance.node.spec.declaration.place
            raise Refused("build_failed", f"{instance.id} failed: {_told(failure)} ({place})")

    def _kept_no_more(self, instance: Instance) -> None:
        """An async generator ended: as it should if it is being closed, and otherwise it has failed."""
        failure = instance.made.failure
        if instance.phase in (Phase.CLOSED, Phase.WARMING) or failure is None:
            return
        refused = self.veil.refusal(Refused("failed", _told(failure), "".join(format_exception(failure))))
        self.events.emit(
            "resource.failed",
            resource=str(instance.id),
            message=f"{refused.message}; it is built anew with the next reload",
            detail=refused.detail,
        )


def _told(failure: BaseException) -> str:
    """Of a group of failures, the failures."""
    if isinstance(failure, BaseExceptionGroup):
        return "; ".join(_told(each) for each in failure.exceptions)
    return f"{type(failure).__name__}: {failure}"
