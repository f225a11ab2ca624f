"""Builds the resources of a new generation: each after those that it needs, independent ones at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from hitless.change import Refused
from hitless.live.blueprint import Blueprint, Move
from hitless.live.graph import needs
from hitless.live.instance import Instance, Phase
from hitless.live.node import NodeId
from hitless.live.parts import Parts

Tasks = dict[NodeId, asyncio.Task[None]]


class Assembly:
    """The instances of the generation `number`, as far as there are any: those that are kept, and those built so far."""

    def __init__(
        self,
        parts: Parts,
        plan: Blueprint,
        current: Mapping[tuple[str, str | None], Instance],
        *,
        number: int,
    ) -> None:
        self._parts: Final = parts
        self._plan: Final = plan
        self._number: Final = number
        self.instances: Final[dict[NodeId, Instance]] = {
            row.id: current[row.id] for row in plan.only(Move.KEEP, Move.UPDATE)
        }
        self.built: Final[list[Instance]] = []
        """Each after those that it needs."""
        self._is_closed = False

    async def build(self, ids: Collection[NodeId]) -> None:
        """Build and warm these.

        Raises:
            Refused: the first that failed; what was built stays in `built`, to be closed.
        """
        tasks: Tasks = {}
        for node_id in ids:
            tasks[node_id] = asyncio.create_task(self._one(node_id, tasks))
        if not tasks:
            return
        done: set[asyncio.Task[None]] = set()
        try:
            done, _ = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        finally:
            # Now: those that are cancelled because of it fail as well.
            failures = [
                error for task in done if not task.cancelled() and (error := task.exception()) is not None
            ]
            await _ended(tasks)
        if failures:
            raise failures[0]

    async def close(self) -> None:
        """Close everything that was built and is not closed yet, and what comes after this by being late."""
        self._is_closed = True
        await self._parts.closer.close([each for each in self.built if each.phase is Phase.WARMING])

    async def _one(self, node_id: NodeId, tasks: Tasks) -> None:
        wanted = self._plan.wanted
        for need in needs(wanted.links[node_id]):
            if need in tasks:
                await asyncio.wait({tasks[need]})
            if need not in self.instances:
                return  # its failure is what is told
        links = linked(wanted.links[node_id], self.instances)
        async with self._parts.slots:
            instance = await self._parts.built(wanted.nodes[node_id], links, first=self._number)
            if self._is_closed:
                await self._parts.closer.close([instance])
                return
            self.built.append(instance)
            await self._parts.warmed(instance)
        self.instances[node_id] = instance
        self._parts.events.emit("resource.built", resource=str(node_id), generation=self._number)


async def _ended(tasks: Tasks) -> None:
    """Cancel those that still run, and wait for all: what they have built must be known. Bounded by their deadlines."""
    for task in tasks.values():
        task.cancel()
    waiting = {task for task in tasks.values() if not task.done()}
    while waiting:
        _, waiting = await asyncio.wait(waiting)
    for task in tasks.values():
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report those that failed because of the first


def linked(links: Mapping[str, Any], instances: Mapping[Any, Instance]) -> dict[str, Any]:
    """The links with instances in the place of their names.

    Raises:
        Refused: one of them is not there.
    """
    try:
        return {
            parameter: target
            if target is None
            else instances[target]
            if isinstance(target, NodeId)
            else {key: instances[each] for key, each in target.items()}
            for parameter, target in links.items()
        }
    except KeyError as error:
        raise Refused("missing", f"{error.args[0]} is not there") from None
