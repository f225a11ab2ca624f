"""Changes in place, which can be taken back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitless.change import Refused
from hitless.live.instance import Instance, objects
from hitless.live.making import Maker
from hitless.live.node import Node


class Updates:
    """The updates of one change."""

    def __init__(self, maker: Maker) -> None:
        self._maker: Final = maker
        self._begun: Final[list[tuple[Instance, Node]]] = []

    async def apply(self, updates: Iterable[tuple[Instance, Node]]) -> None:
        """Give each instance what the new node reads, in order. Raises Refused: one failed; call `take_back`."""
        for instance, node in updates:
            self._begun.append((instance, instance.node))
            try:
                await self._update(instance, node)
            except Refused as refused:
                # It may still be at work in a thread, and come after what takes it back.
                instance.suspect |= refused.reason in ("deadline_passed", "cancelled")
                raise

    async def take_back(self) -> None:
        """Give everything that was touched its old inputs again, the last first.

        Raises:
            Refused: one did not take them; it is rebuilt with the next change, and the others were taken back.
        """
        failures = []
        while self._begun:
            instance, node = self._begun.pop()
            try:
                await self._update(instance, node)
            except Refused as refused:
                instance.node, instance.suspect = node, True
                failures.append(refused)
        if failures:
            detail = "\n".join(each.detail for each in failures)
            raise Refused("undo_failed", "; ".join(each.message for each in failures), detail)

    async def _update(self, instance: Instance, node: Node) -> None:
        inputs = {**node.values, **objects(instance.links)}
        await self._maker.update(node.spec.declaration, instance.made, inputs, str(instance.id))
        instance.node = node
