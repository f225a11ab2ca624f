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

from hitless.agent.definition import PollingSource, Route
from hitless.agent.plugins import PUBLISHER, Plugins
from hitless.agent.polling.clock import Clock, SystemClock
from hitless.agent.polling.poller import Poller
from hitless.agent.publishers.outlet import Outlet, SharedPublisher
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.routing import Router
from hitless.agent.running import DefinitionFiles, OutletSpec, PublisherSpec, Running
from hitless.agent.tally import Tally
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
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.plugins: Final = plugins or Plugins()
        self.tally: Final = Tally()
        self.runtime: Final = Runtime(Running, name=name, limits=limits, overdue="wait")
        self._source: Final = source
        self._poller: Final = Poller(self._enter, self.plugins, self.tally, clock or SystemClock())
        self._polling: asyncio.Task[None] | None = None
        self._declare()

    async def start(self, triggers: Triggers = Triggers()) -> Outcome:  # noqa: B008 - frozen
        """Open the publishers and begin to poll.

        Raises:
            StartFailed: the definition is not valid, or a publisher cannot be opened.
        """
        if isinstance(self._source, Running):
            outcome = await self.runtime.start(settings=self._source, triggers=triggers)
        else:
            outcome = await self.runtime.start(self._source, triggers=triggers)
        self._poller.arrange(self.runtime.settings.definition.polling)
        self._polling = asyncio.create_task(self._poller.run(), name="poller")
        return outcome

    async def reload(self, running: Running | None = None, *, requested_by: str = "a call") -> Outcome:
        """Read the files again (or take `running`) and change what differs. Raises ChangeInProgress."""
        return await self.runtime.reload(running, requested_by=requested_by)

    async def stop(self) -> None:
        """Poll no more, let ticks end that have begun, flush and close everything."""
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.wait({polling})
            try:
                await Deadline.after(STOP_S).wait(self._poller.idle(), "polls did not end")
            except DeadlinePassed:
                self.tally.polls["timeouts"] += 1
        await self.runtime.stop()

    def _enter(self) -> _Generation:
        return _Generation(self.runtime)

    def _declare(self) -> None:
        runtime, plugins, tally = self.runtime, self.plugins, self.tally

        @runtime.resource(per="publishers", timeouts=Timeouts(close_s=CLOSE_S))
        async def publisher(
            spec: Annotated[PublisherSpec, Each()], key: Annotated[str, EachKey()]
        ) -> AsyncIterator[SharedPublisher]:
            url = PublisherUrl.parse(spec.url)
            shared = SharedPublisher(plugins.load(PUBLISHER, url.scheme)(url), key)
            await shared.open()
            yield shared
            await shared.close()

        @runtime.resource(per="outlets", timeouts=Timeouts(close_s=CLOSE_S))
        async def outlet(
            spec: Annotated[OutletSpec, Each()],
            key: Annotated[str, EachKey()],
            publisher: Annotated[SharedPublisher, Needs("publisher", key_from="each.publisher")],
        ) -> AsyncIterator[Outlet]:
            made = Outlet(
                publisher,
                tally.outlet(key),
                buffer=spec.buffer,
                batch_size=spec.batch_size,
                retry=spec.retry,
            )
            yield made
            await made.aclose()

        @runtime.resource
        def router(
            routes: Annotated[dict[str, Route], Setting("definition.samples")],
            ways: Annotated[dict[str, tuple[str, ...]], Setting("ways")],
            outlets: Annotated[Mapping[str, Outlet], Needs("outlet")],
        ) -> Router:
            return Router(routes, ways, outlets)

        @runtime.on_change()
        async def arrange(_: Running, new: Running) -> None:
            self._poller.arrange(new.definition.polling)


class _Generation:
    """A lease on a whole generation, for the poller."""

    def __init__(self, runtime: Runtime[Running]) -> None:
        self._lease: Final = runtime.action("poll")

    async def __aenter__(self) -> tuple[Mapping[str, PollingSource], Router]:
        snapshot: Any = await self._lease.__aenter__()
        return snapshot.settings.definition.polling, snapshot.get("router")

    async def __aexit__(self, *exc: Any) -> None:
        await self._lease.__aexit__(*exc)


__all__ = ["Agent", "DefinitionFiles"]
