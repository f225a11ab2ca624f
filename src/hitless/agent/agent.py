"""The agent: polls what its definition says, publishes where it says, and takes a new one while it runs.

1. A definition that cannot run changes nothing: the old one goes on, and the outcome says why, with file and line.
2. A source whose interval stays keeps its times to the tick, whatever else changes.
3. What was being polled is published through the pipelines in which it began; a removed sink closes when that is done and
   what it holds is flushed.
4. Publishers that any pipeline still uses are not touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final

from hitless.agent.definition import EVENT_PREFIX, Route, Transformer
from hitless.agent.event import Event
from hitless.agent.generation import Entered, Generation
from hitless.agent.notifications.conductor import Conductor
from hitless.agent.plugins import PUBLISHER, TRANSFORMER, Plugins
from hitless.agent.polling.clock import Clock, SystemClock
from hitless.agent.polling.partition import Everything, Partition
from hitless.agent.polling.poller import Poller
from hitless.agent.publishers.outlet import Outlet
from hitless.agent.publishers.outlets import outlet_of
from hitless.agent.publishers.shared import SharedPublisher
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.routing import Router, Way
from hitless.agent.running import DefinitionFiles, OutletSpec, PublisherSpec, Running
from hitless.agent.sample import Sample
from hitless.agent.tally import Tally
from hitless.agent.transformers.chain import Chain
from hitless.agent.workers import Workers
from hitless.change import Deadline, DeadlinePassed, Outcome
from hitless.config import Source
from hitless.live import Each, EachKey, Limits, Needs, Runtime, Setting, Timeouts, Triggers

STOP_S: Final = 30.0
"""For ticks that have begun when the agent stops; after it they are left behind."""
CLOSE_S: Final = 30.0
"""More than `outlet.FLUSH_S`, so that it is the outlet that says what is lost."""


class Agent:
    """Runs on the event loop that it was made on."""

    def __init__(
        self,
        source: Source | Running,
        *,
        plugins: Plugins | None = None,
        name: str | None = None,
        clock: Clock | None = None,
        partition: Partition = Everything(),  # noqa: B008 - stateless
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.plugins: Final = plugins or Plugins()
        self.tally: Final = Tally()
        self.workers: Final = Workers()
        self.runtime: Final = Runtime(Running, name=name, limits=limits, overdue="wait")
        self._source: Final = source
        self._poller: Final = Poller(
            self.enter,
            self.plugins,
            self.tally,
            clock or SystemClock(),
            partition=partition,
            workers=self.workers,
        )
        self._polling: asyncio.Task[None] | None = None
        self._declare()
        self._listening: Final = Conductor(self.runtime, self.plugins, lambda: self.enter("notifications"))
        self.runtime.reports["listeners"] = lambda: [*self.listeners()]

    async def start(
        self,
        triggers: Triggers = Triggers(),  # noqa: B008 - frozen
        *,
        polls: bool = True,
    ) -> Outcome:
        """Open the publishers and begin to poll; with `polls=False`, not before `begin` is called.

        Raises:
            StartFailed: the definition is not valid, or a publisher cannot be opened.
        """
        if isinstance(self._source, Running):
            outcome = await self.runtime.start(settings=self._source, triggers=triggers)
        else:
            outcome = await self.runtime.start(self._source, triggers=triggers)
        if polls:
            self.begin()
        return outcome

    def begin(self, due: Mapping[str, float] | None = None) -> None:
        """Poll. `due` is what `leave_off` of another agent gave: its due times go on here, none left out and none twice."""
        self._poller.arrange(self.runtime.settings.definition.polling, due)
        self._polling = asyncio.create_task(self._poller.run(), name="poller")
        self._listening.begin()

    async def leave_off(self) -> dict[str, float]:
        """Poll no more; polls that have begun go on. When each source would have been due next, for another agent on this
        machine, in this process or another one (`begin`).
        """
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.wait({polling})
        return self._poller.due()

    def wake(self) -> None:
        """What the partition says about due times has changed."""
        self._poller.wake()

    async def catch_up(self) -> None:
        """Begin all polls that are due; returns when each holds its generation, so that another one may be put in force."""
        if self._polling is not None:
            await self._poller.catch_up()

    def arrange(self) -> None:
        """Poll what the generation says that is in force, from now on."""
        if self._polling is not None:
            self._poller.arrange(self.runtime.settings.definition.polling)

    def listeners(self) -> list[dict[str, Any]]:
        """Of each listener: its broker, its state, what it holds and what it has taken."""
        return self._listening.status()

    def taken(self) -> dict[str, dict[str, int]]:
        """Counts of messages by broker, since the agent was made."""
        return self._listening.counts()

    def enter(self, name: str = "poll") -> Entered:
        """`async with agent.enter() as generation`: the pipelines that are in force, for as long as they are needed.

        `name` is shown by `hitless status` while the generation drains.
        """
        return _Entered(self.runtime, name)

    async def reload(self, running: Running | None = None, *, requested_by: str = "a call") -> Outcome:
        """Read the files again (or take `running`) and change what differs. Raises ChangeInProgress."""
        return await self.runtime.reload(running, requested_by=requested_by)

    async def stop(self) -> None:
        """Poll and listen no more, let ticks and batches end that have begun, flush and close everything."""
        await self.leave_off()
        await self._listening.finish()
        try:
            await Deadline.after(STOP_S).wait(self._poller.idle(), "polls did not end")
        except DeadlinePassed:
            self.tally.polls["timeouts"] += 1
        await self.runtime.stop()

    def _declare(self) -> None:
        runtime, plugins, tally = self.runtime, self.plugins, self.tally

        @runtime.resource(per="publishers", timeouts=Timeouts(close_s=CLOSE_S))
        async def publisher(
            spec: Annotated[PublisherSpec, Each()], key: Annotated[str, EachKey()]
        ) -> AsyncIterator[SharedPublisher]:
            url = PublisherUrl.parse(spec.url)
            shared = SharedPublisher(plugins.load(PUBLISHER, url.scheme)(url), key, self.workers)
            await shared.open()
            yield shared
            await shared.close()

        @runtime.resource(per="outlets", timeouts=Timeouts(close_s=CLOSE_S))
        async def outlet(
            spec: Annotated[OutletSpec, Each()],
            key: Annotated[str, EachKey()],
            publisher: Annotated[SharedPublisher, Needs("publisher", key_from="each.publisher")],
        ) -> AsyncIterator[Outlet[Any]]:
            made = await outlet_of(spec, key, publisher, tally.outlet(key), self.workers)
            yield made
            await made.aclose()

        @runtime.resource(per="chains", adopt=Chain.adopt)
        async def chain(
            specs: Annotated[tuple[Transformer, ...], Each()], key: Annotated[str, EachKey()]
        ) -> Chain[Sample]:
            return Chain.of(key, specs, lambda name: plugins.load(TRANSFORMER, name))

        @runtime.resource
        async def router(
            routes: Annotated[dict[str, Route], Setting("definition.samples")],
            ways: Annotated[dict[str, tuple[str, ...]], Setting("ways")],
            chains: Annotated[Mapping[str, Chain[Sample]], Needs("chain")],
            outlets: Annotated[Mapping[str, Outlet[Any]], Needs("outlet")],
        ) -> AsyncIterator[Router[Sample]]:
            made = Router(
                routes,
                {
                    sink: Way(chains.get(sink), tuple(outlets[each] for each in ways[sink]))
                    for sink in _sinks(routes)
                },
            )
            made.acquire()
            yield made
            made.release()  # before the outlets close, for they were needed to build it

        @runtime.resource
        async def event_router(
            routes: Annotated[dict[str, Route], Setting("definition.events")],
            ways: Annotated[dict[str, tuple[str, ...]], Setting("ways")],
            outlets: Annotated[Mapping[str, Outlet[Any]], Needs("outlet")],
        ) -> Router[Event]:
            to: dict[str, Way[Event]] = {
                sink: Way(None, tuple(outlets[each] for each in ways[EVENT_PREFIX + sink]))
                for sink in _sinks(routes)
            }
            return Router(routes, to)

        @runtime.on_change()
        async def arrange(_: Running, __: Running) -> None:
            self.arrange()  # by what is in force now, which may be newer


def _sinks(routes: Mapping[str, Route]) -> set[str]:
    return {sink for route in routes.values() for sink in route.sinks}


class _Entered:
    """A lease on a whole generation."""

    def __init__(self, runtime: Runtime[Running], name: str) -> None:
        self._lease: Final = runtime.action(name)

    async def __aenter__(self) -> Generation:
        snapshot: Any = await self._lease.__aenter__()
        return Generation(
            snapshot.number,
            snapshot.settings.definition,
            snapshot.get("router"),
            snapshot.get("event_router"),
        )

    async def __aexit__(self, *exc: Any) -> None:
        await self._lease.__aexit__(*exc)


__all__ = ["Agent", "DefinitionFiles"]
