"""Polls what is due. A tick holds one generation from its begin to its end: what it measures goes where that one sends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from hitless.agent.definition import PollingSource
from hitless.agent.filters import Filter
from hitless.agent.flaws import sound
from hitless.agent.generation import Enter, Generation
from hitless.agent.plugins import DISCOVERY, POLLSTER, Plugins
from hitless.agent.polling.clock import Clock
from hitless.agent.polling.discovery import Discovery
from hitless.agent.polling.partition import Everything, Partition, static_group
from hitless.agent.polling.pollster import Cache, PermanentFailure, Poll, Pollster
from hitless.agent.polling.schedule import Tick
from hitless.agent.sample import Sample
from hitless.agent.tally import Tally
from hitless.agent.workers import Workers

log = logging.getLogger(__name__)


APART_S: Final = 0.0005
"""How far apart two readings of clocks may be."""
READS: Final = 5


class Poller:
    """Owned by the agent's event loop.

    1. A source is due at its own times; a pollster that is slow, hangs or fails delays no other.
    2. A pollster whose last call still runs is not called again: that tick of it is skipped, and counted.
    """

    def __init__(
        self,
        enter: Enter,
        plugins: Plugins,
        tally: Tally,
        clock: Clock,
        *,
        partition: Partition = Everything(),  # noqa: B008 - stateless
        workers: Workers | None = None,
    ) -> None:
        self._workers: Final = workers or Workers()
        self._enter: Final = enter
        self._plugins: Final = plugins
        self._tally: Final = tally
        self._clock: Final = clock
        self._partition: Final = partition
        self._schedule: Final = partition.schedule(clock)
        self._changed: Final = asyncio.Event()
        self._ticks: Final[set[asyncio.Task[None]]] = set()
        self._entering: Final[set[asyncio.Event]] = set()
        """Of ticks that have not got their generation yet."""
        self._running: Final[set[tuple[str, str]]] = set()
        self._searches: Final[dict[str, asyncio.Task[tuple[str, ...]]]] = {}
        """By `name://parameter`."""
        self._set_aside: Final[dict[tuple[str, str], set[str]]] = {}
        self._matched: Final[dict[tuple[str, ...], tuple[tuple[str, Pollster], ...]]] = {}

    def arrange(self, sources: Mapping[str, PollingSource], due: Mapping[str, float] | None = None) -> None:
        """These are to be polled from now on. What was set aside is tried again.

        `due`: next due times of another poller (`due` of this class), which new timers take over.
        """
        self._schedule.arrange(sources, self._clock.now(), due or {})
        self._set_aside.clear()
        self._matched.clear()
        self._changed.set()

    def due(self) -> dict[str, float]:
        """When each source is due next, in monotonic seconds: the same clock in all processes of a machine."""
        return self._schedule.due()

    async def run(self) -> None:
        """Until cancelled; ticks that have begun go on."""
        while True:
            self._changed.clear()
            self._take()
            await self._clock.wait(self._schedule.next_due, self._changed)

    def wake(self) -> None:
        """Ask the timetable again: it has changed by itself."""
        self._changed.set()

    async def catch_up(self) -> None:
        """Begin what is due, and return when each tick has its generation: another one may be put in force then."""
        self._take()
        # Those too that were taken a moment ago, and whose tasks have not run yet.
        for entered in list(self._entering):
            await entered.wait()

    def _take(self) -> None:
        for tick in self._schedule.take(self._clock.now()):
            self._tally.polls["missed"] += tick.missed
            entered = asyncio.Event()
            self._entering.add(entered)
            task = asyncio.create_task(self._tick(tick, entered), name=f"poll {tick.source}")
            self._ticks.add(task)
            task.add_done_callback(self._ticks.discard)
            task.add_done_callback(partial(self._has_entered, entered))

    def _has_entered(self, entered: asyncio.Event, _: object = None) -> None:
        """It has its generation, or will never have one."""
        self._entering.discard(entered)
        entered.set()

    async def idle(self) -> None:
        """Wait until every tick that has begun has ended; each is bounded by its source's timeout."""
        while self._ticks:
            await asyncio.wait(set(self._ticks))

    async def _tick(self, tick: Tick, entered: asyncio.Event) -> None:
        late = self._clock.now() - tick.due
        self._tally.lateness.observe(late)
        at = self._wall_of(tick.due) if tick.at is None else tick.at
        async with self._enter() as generation:
            self._has_entered(entered)
            source = generation.polling.get(tick.source)
            if source is not None:
                await _Round(self, tick, source, generation, at).run()

    def _wall_of(self, due: float) -> float:
        """The Unix time of a monotonic one. The two clocks are read again if this thread was held up in between."""
        for _ in range(READS):
            before = self._clock.now()
            wall = self._clock.wall()
            if self._clock.now() - before <= APART_S:
                break
        return wall - (before - due)

    def pollsters(self, source: PollingSource) -> tuple[tuple[str, Pollster], ...]:
        found = self._matched.get(source.meters)
        if found is None:
            takes = Filter(source.meters).takes
            found = tuple(
                (meter, self._plugins.load(POLLSTER, meter))
                for meter in self._plugins.names(POLLSTER)
                if takes(meter)
            )
            self._matched[source.meters] = found
        return found


class _Round:
    """All pollsters of one source, once."""

    def __init__(
        self, poller: Poller, tick: Tick, source: PollingSource, generation: Generation, at: float
    ) -> None:
        self._poller: Final = poller
        self._name: Final = tick.source
        self._due: Final = tick.due
        self._source: Final = source
        self._generation: Final = generation
        self._at: Final = at
        self._timeout_s: Final = float(source.timeout or source.interval)
        self._cache: Final = Cache()
        self._found: Final[dict[str, asyncio.Task[tuple[str, ...]]]] = {}
        self._owned: Final[dict[tuple[str, ...], tuple[str, ...]]] = {}
        """By discoveries: the same for all pollsters of a round."""

    async def run(self) -> None:
        """A round of one pollster needs no task of its own: each turn of a loop that is held up makes a tick later."""
        pollsters = self._poller.pollsters(self._source)
        if len(pollsters) == 1:
            await self._poll(*pollsters[0])
        else:
            await asyncio.gather(*(self._poll(meter, each) for meter, each in pollsters))

    async def _poll(self, meter: str, pollster: Pollster) -> None:
        counts, running, key = self._poller._tally.polls, self._poller._running, (self._name, meter)
        if key in running:
            counts["skipped"] += 1
            return
        running.add(key)
        call = _Call(lambda: running.discard(key))
        try:
            async with asyncio.timeout(self._timeout_s):
                samples = await self._measured(meter, pollster, call)
        except TimeoutError:
            counts["timeouts"] += 1
            log.warning("%s of %s did not end within %g s", meter, self._name, self._timeout_s)
        except PermanentFailure as failure:
            aside = self._poller._set_aside.setdefault(key, set())
            counts["set_aside"] += len(set(failure.resources) - aside)
            aside.update(failure.resources)
            log.warning("%s of %s polls these no more until the next change: %s", meter, self._name, failure)
        except Exception as error:  # noqa: BLE001 - a pollster may raise anything; the others go on
            counts["errors"] += 1
            log.warning("%s of %s failed: %s: %s", meter, self._name, type(error).__name__, error)
        else:
            counts["samples"] += len(samples)
            # A sink that blocks holds up this pollster only, and no more of its samples come meanwhile.
            await self._generation.send(samples)
        finally:
            call.over()

    async def _measured(self, meter: str, pollster: Pollster, call: _Call) -> list[Sample]:
        resources = await self._resources(pollster)
        aside = self._poller._set_aside.get((self._name, meter), set())
        if not resources:
            return []
        self._poller._tally.polls["polls"] += 1
        poll = Poll(
            meter=meter,
            source=self._name,
            resources=tuple(each for each in resources if each not in aside) if aside else resources,
            at=self._at,
            timeout_s=self._timeout_s,
            cache=self._cache,
            monotonic=self._due,
        )
        measure: Any = pollster.measure
        if pollster.is_async:
            return self._sound(meter, *sound(await measure(poll)))
        in_thread = self._poller._workers.start(lambda: sound(measure(poll)), f"poll {meter}")
        call.goes_on(in_thread)
        return self._sound(meter, *await asyncio.shield(in_thread))

    def _sound(self, meter: str, samples: list[Sample], flaws: list[str]) -> list[Sample]:
        if flaws:
            self._poller._tally.polls["errors"] += 1
            log.warning("%s of %s gave %d that are left out: %s", meter, self._name, len(flaws), flaws[0])
        return samples

    async def _resources(self, pollster: Pollster) -> tuple[str, ...]:
        """This agent's of those that the source names and finds; where it says neither, of those that the pollster finds."""
        named, finders = self._source.resources, self._source.discovery
        if not named and not finders and pollster.discovery is not None:
            finders = (pollster.discovery,)
        known = self._owned.get(finders)
        if known is None:
            mine = self._mine(static_group(named), named) if named else []
            for each in finders:
                found, group = await self._discovered(each), self._discovery(each).group_id
                mine += found if group is None else self._mine(group, found)
            known = self._owned[finders] = tuple(dict.fromkeys(mine))
        return known

    def _mine(self, group: str, resources: Iterable[str]) -> list[str]:
        owns = self._poller._partition.owns
        return [each for each in resources if owns(group, each, self._at)]

    def _discovery(self, finder: str) -> Discovery:
        return Discovery.of(self._poller._plugins.load(DISCOVERY, finder.partition("://")[0]))

    async def _discovered(self, finder: str) -> tuple[str, ...]:
        """Looked for once in a round, whoever asks; a search that still goes on is waited for, not begun again."""
        found, searches = self._found.get(finder), self._poller._searches
        if found is None:
            found = searches.get(finder)
            if found is None or found.done():
                found = searches[finder] = asyncio.create_task(self._discover(finder))
                found.add_done_callback(_forgotten)
            self._found[finder] = found
        return await asyncio.shield(found)

    async def _discover(self, finder: str) -> tuple[str, ...]:
        name, _, parameter = finder.partition("://")
        discovery = self._discovery(finder)
        find: Any = discovery.find
        if discovery.is_async:
            return tuple(await find(parameter or None))
        return await self._poller._workers.run(lambda: tuple(find(parameter or None)), f"discover {name}")


class _Call:
    """One call of a pollster. In a thread it cannot be broken off: it is over when it has really ended."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Final = end
        self._work: asyncio.Future[Any] | None = None

    def goes_on(self, work: asyncio.Future[Any]) -> None:
        self._work = work

    def over(self) -> None:
        """Nobody waits for it any more."""
        if self._work is None or self._work.done():
            self._end()
        else:
            self._work.add_done_callback(self._late)

    def _late(self, work: asyncio.Future[Any]) -> None:
        _forgotten(work)
        self._end()


def _forgotten(task: asyncio.Future[Any]) -> None:
    """What a call has raised for which nobody waits any more is of no interest."""
    if not task.cancelled():
        task.exception()
