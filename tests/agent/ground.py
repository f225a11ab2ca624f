"""An agent whose time the test turns, with pollsters and publishers that note what happens to them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from hitless.agent.agent import Agent
from hitless.agent.definition import Definition, PollingSource, Retry, Route, Sink
from hitless.agent.event import Event
from hitless.agent.plugins import DISCOVERY, POLLSTER, PUBLISHER, Plugins
from hitless.agent.polling.pollster import Poll, Pollster
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.running import Running
from hitless.agent.sample import Sample

BEGAN = 1000.0
WALL = 1_000_000.0
"""What the wall clock is ahead of the monotonic one."""
DEADLINE_S = 60.0


class TurnedClock:
    """Stands still until it is turned. `parked` is set while the poller waits for it."""

    def __init__(self) -> None:
        self.time = BEGAN
        self.until: float | None = None
        self.parked = asyncio.Event()
        self._turned = asyncio.Event()

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return WALL + self.time

    async def wait(self, until: float | None, woken: asyncio.Event) -> None:
        self.until = until
        while not woken.is_set() and (until is None or self.time < until):
            self._turned.clear()
            self.parked.set()
            waits = [asyncio.ensure_future(each.wait()) for each in (woken, self._turned)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.parked.clear()
                for each in waits:
                    each.cancel()

    async def turn(self, seconds: float) -> None:
        """Go on by `seconds`, stopping at each due time; what is due has begun when this returns."""
        end = self.time + seconds
        while True:
            async with asyncio.timeout(DEADLINE_S):
                await self.parked.wait()
            if self.until is None or self.until > end:
                break
            self.time = max(self.time, self.until)
            self.parked.clear()
            self._turned.set()
        self.time = end


class Kept:
    """What one publisher was given. Methods are called in threads."""

    def __init__(self, url: PublisherUrl) -> None:
        self.url = url.text
        self.lock = threading.Condition()
        self.samples: list[Sample] = []
        self.events: list[Event] = []
        self.batches: list[int] = []
        self.opened = self.closed = 0
        self.refusals = 0
        """How many calls are still to be refused."""
        self.gate = threading.Event()
        self.gate.set()

    def open(self) -> None:
        if "unopenable" in self.url:
            raise ConnectionRefusedError("nobody listens there")
        self.opened += 1

    def publish(self, samples: Sequence[Sample]) -> None:
        assert self.gate.wait(DEADLINE_S)
        with self.lock:
            assert not self.closed, "published after it was closed"
            if self.refusals:
                self.refusals -= 1
                raise ConnectionResetError("not now")
            self.samples += samples
            self.batches.append(len(samples))
            self.lock.notify_all()

    def publish_events(self, events: Sequence[Event]) -> None:
        with self.lock:
            self.events += events

    async def has(self, count: int) -> None:
        """Wait for so many samples."""

        def wait() -> bool:
            with self.lock:
                return self.lock.wait_for(lambda: len(self.samples) >= count, DEADLINE_S)

        assert await asyncio.to_thread(wait), f"{len(self.samples)} samples came, not {count}"

    def close(self) -> None:
        self.closed += 1


class Ground:
    """Makes agents whose publishers are `kept://NAME`."""

    def __init__(self, **pollsters: Any) -> None:
        self.kept: dict[str, list[Kept]] = {}
        self.clock = TurnedClock()
        named = {name.replace("_", "."): Pollster(each) for name, each in pollsters.items()}
        finders = {"two": two, "hangs": self._hang}
        self.plugins = Plugins({POLLSTER: named, PUBLISHER: {"kept": self._make}, DISCOVERY: finders})
        self.searches = 0
        self.let_go = threading.Event()

    def _make(self, url: PublisherUrl) -> Kept:
        made = Kept(url)
        self.kept.setdefault(url.text, []).append(made)
        return made

    def _hang(self, parameter: str | None) -> list[str]:
        self.searches += 1
        assert self.let_go.wait(DEADLINE_S)
        return []

    def agent(self, running: Running, **more: Any) -> Agent:
        return Agent(running, plugins=self.plugins, clock=self.clock, **more)

    def one(self, url: str) -> Kept:
        """The publisher of this URL, of which there was only ever one."""
        (made,) = self.kept[url]
        return made


def two(parameter: str | None) -> list[str]:
    return [f"{parameter}-1", f"{parameter}-2"]


def running(sources: dict[str, PollingSource], sinks: dict[str, tuple[str, ...]], **options: Any) -> Running:
    """Every sample goes to every sink."""
    retry = Retry(attempts=3, first=0.001, longest=0.002)
    made = {name: Sink(publishers=urls, **{"retry": retry, **options}) for name, urls in sinks.items()}
    routes = {"all": Route(names=("*",), sinks=tuple(sinks))}
    return Running.of(Definition(polling=sources, samples=routes, sinks=made))


def every(interval: int, *meters: str, **options: Any) -> PollingSource:
    return PollingSource(
        interval=interval, meters=meters, **{"resources": ("r",), "timeout": 1000.0, **options}
    )


def one_sample(poll: Poll) -> list[Sample]:
    return [poll.sample(1.0, unit="x", resource=each) for each in poll.resources]


async def one_sample_later(poll: Poll) -> list[Sample]:
    await asyncio.sleep(0)
    return one_sample(poll)
