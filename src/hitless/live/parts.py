"""What every change of one runtime works with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hitless.change import Events
from hitless.live.closing import Closer
from hitless.live.drains import Drains
from hitless.live.graph import Graph
from hitless.live.hooks import Hooks
from hitless.live.instance import Instance, objects
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
        inputs = {**node.values, **objects(links)}
        made = await self.maker.build(node.spec.declaration, inputs, str(node.id))
        return Instance(node, links, made, first=first)

    async def warmed(self, instance: Instance) -> None:
        """Ask whether it is healthy. Raises Refused."""
        await self.maker.warm(instance.node.spec.declaration, instance.made, str(instance.id))
