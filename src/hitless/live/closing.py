"""Closes instances: each exactly once, after everything that was built with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitless.change import Events
from hitless.live.instance import Instance, Phase, given
from hitless.live.lingering import Lingering
from hitless.live.making import Maker, Stragglers
from hitless.live.veil import Veil


class Closer:
    """Events: `resource.closed`, and `resource.close_failed` if its close raised or hung; it is closed all the same."""

    def __init__(self, maker: Maker, events: Events, stragglers: Stragglers, veil: Veil) -> None:
        self.lingering: Final = Lingering()
        self._maker: Final = maker
        self._veil: Final = veil
        self._events: Final = events
        self._stragglers: Final = stragglers

    async def close(self, instances: Iterable[Instance]) -> None:
        """Close these; returns when it is done, or given up at the deadlines. Their dependants must be among them, or
        be closed or closing.
        """
        chosen = list(instances)
        for each in chosen:
            each.move(Phase.CLOSED)
            self._stragglers.add(self._close(each))
        for each in chosen:
            await each.closed.wait()

    async def _close(self, instance: Instance) -> None:
        while instance.dependants:
            await next(iter(instance.dependants)).closed.wait()
        declaration, label = instance.node.spec.declaration, str(instance.id)
        try:
            failure = await self._maker.close(declaration, instance.made, label, instance.over.set)
        finally:
            for each in given(instance.links):
                each.dependants.discard(instance)
            self.lingering.note(instance)
            instance.closed.set()
        if failure is None:
            self._events.emit("resource.closed", resource=label)
        else:
            failure = self._veil.refusal(failure)
            self._events.emit(
                "resource.close_failed", resource=label, message=failure.message, detail=failure.detail
            )
