"""All listeners of an agent, over its changes: who is replaced finishes before its successor begins; the others notice nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

from hitless.agent.event import Event
from hitless.agent.generation import Enter, Generation
from hitless.agent.notifications.converter import Conversion, Converter
from hitless.agent.notifications.delivery import Delivery
from hitless.agent.notifications.listener import Intake, Listener
from hitless.agent.notifications.shards import Distributor, Draining, Shard
from hitless.agent.notifications.spec import ListenerSpec
from hitless.agent.plugins import Plugins
from hitless.agent.running import Running
from hitless.agent.sample import Sample
from hitless.live import Each, Runtime, Setting, Timeouts

COUNTS: Final = ("received", "redelivered", "acked", "dead_lettered", "returned", "reconnects", "not_taken")


class Conductor:
    """Owned by the agent's event loop. Declares what listeners need as resources of the agent's runtime."""

    def __init__(self, runtime: Runtime[Running], plugins: Plugins, enter: Enter) -> None:
        self._runtime: Final = runtime
        self._enter: Final = enter
        self._counts: Final[dict[str, Counter[str]]] = {}
        self._active: Mapping[str, BrokerListeners] = {}
        self._switching: asyncio.Task[None] | None = None
        self._has_begun = False
        self._declare(plugins)

    def begin(self) -> None:
        """Listen."""
        self._has_begun = True
        self._active = self._wanted()
        for each in self._active.values():
            each.begin()

    async def finish(self) -> None:
        """Take no more; what is in hand is published and acknowledged first, within each listener's `finish_timeout`."""
        self._has_begun = False
        if self._switching is not None:
            await self._switching
        await _finished(self._active.values())
        self._active = {}

    def status(self) -> list[dict[str, Any]]:
        return [status for listeners in self._active.values() for status in listeners.status()]

    def counts(self) -> dict[str, dict[str, int]]:
        return {
            name: {each: counts[each] for each in COUNTS} for name, counts in sorted(self._counts.items())
        }

    def _declare(self, plugins: Plugins) -> None:
        runtime = self._runtime

        @runtime.resource
        def converter(
            conversion: Annotated[Conversion, Setting("notifications.conversion")],
        ) -> Converter:
            return Converter(conversion, plugins)

        @runtime.resource(per="notifications.listeners", timeouts=Timeouts(build_s=60, close_s=60))
        async def listener(spec: Annotated[ListenerSpec, Each()]) -> AsyncIterator[BrokerListeners]:
            made = self._make(spec)
            try:
                if spec.must_connect:
                    await made.check()
                yield made
            finally:  # of one that cannot connect as well: it holds a file descriptor
                await made.finish()

        @runtime.on_change()
        async def switch(_: Running, __: Running) -> None:
            for each in self._active.values():
                each.delivery.hurry()
            if self._has_begun:
                self._switch()

    def _make(self, spec: ListenerSpec) -> BrokerListeners:
        counts = self._counts.setdefault(spec.key, Counter())
        delivery = Delivery(self._pipelines, spec, counts)
        name = f"hitless {self._runtime.name or 'agent'}"
        if spec.shards is None:
            intake = Listener(name, spec, role=lambda: Intake(spec), take=delivery, counts=counts)
            return BrokerListeners(delivery, (intake,))
        draining, distributed = Draining(), self._counts.setdefault(f"{spec.key} distributor", Counter())
        return BrokerListeners(
            delivery,
            (
                Listener(
                    f"{name} shards", spec, role=lambda: Shard(spec, draining), take=delivery, counts=counts
                ),
                Listener(
                    f"{name} distributor",
                    spec,
                    role=lambda: Distributor(spec, distributed, draining),
                    take=delivery,
                    counts=distributed,
                ),
            ),
        )

    def _switch(self) -> None:
        """In a task of its own, one after the other: who is replaced may take its time."""
        self._switching = asyncio.create_task(self._switched(self._switching), name="switch listeners")

    async def _switched(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        wanted = self._wanted()  # the newest generation's, whichever change this was for
        old, self._active = self._active, wanted
        await _finished(each for key, each in old.items() if wanted.get(key) is not each)
        for each in wanted.values():
            each.begin()

    def _wanted(self) -> dict[str, BrokerListeners]:
        snapshot: Any = self._runtime.leases.current
        keys = () if snapshot is None else snapshot.settings.notifications.listeners
        return {key: snapshot.get("listener", key) for key in keys}

    @asynccontextmanager
    async def _pipelines(self) -> AsyncIterator[_Pipelines]:
        async with self._enter() as generation, self._runtime.lease("converter") as converter:
            yield _Pipelines(generation, converter)


@dataclass(frozen=True, slots=True, eq=False)
class BrokerListeners:
    """Those of one broker."""

    delivery: Delivery
    all: tuple[Listener, ...]

    async def check(self) -> None:
        """Raises BrokerError: the broker cannot be reached, or has queues of these names that are otherwise."""
        for each in self.all:
            await each.check()

    def begin(self) -> None:
        for each in self.all:
            each.begin()

    def status(self) -> Iterator[dict[str, Any]]:
        for each in self.all:
            status = each.status()
            yield {**status, "trouble": status["trouble"] or self.delivery.trouble}

    async def finish(self) -> None:
        await asyncio.gather(*(each.finish() for each in self.all))


@dataclass(frozen=True, slots=True)
class _Pipelines:
    generation: Generation
    converter: Converter

    @property
    def room(self) -> int:
        definition = self.generation.definition
        sinks = (*definition.sinks.values(), *definition.event_sinks.values())
        return min((each.buffer for each in sinks), default=1_000_000)

    async def publish(self, samples: Sequence[Sample]) -> None:
        await self.generation.publish(samples)

    async def publish_events(self, events: Sequence[Event]) -> None:
        await self.generation.publish_events(events)


async def _finished(listeners: Any) -> None:
    await asyncio.gather(*(each.finish() for each in listeners))
