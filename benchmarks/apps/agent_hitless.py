"""A polling agent that polls everything so many times, as fast as it goes, and stops when all is published.

agent_hitless.py METERS RESOURCES CYCLES PUBLISHER
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hitless.agent.agent import Agent
from hitless.agent.definition import Definition, PollingSource, Route, Sink
from hitless.agent.main import keep_ticks_prompt
from hitless.agent.plugins import POLLSTER, Plugins
from hitless.agent.polling.pollster import Poll, Pollster
from hitless.agent.running import Running
from hitless.agent.sample import Sample

INTERVAL_S = 3600


def measure(poll: Poll) -> Iterator[Sample]:
    for each in poll.resources:
        about = {"host": "a", "flavor": "m1"}
        yield poll.sample(1.5, unit="B", resource=each, kind="cumulative", metadata={**about})


class Clock:
    """Its time goes on when it is told to."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return time.time()

    async def wait(self, _until: float | None, _woken: asyncio.Event) -> None:
        await asyncio.Event().wait()


def peak_kb() -> int:
    """Not ru_maxrss: that of a new program begins with what its parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


async def main() -> None:
    meters, resources, cycles = (int(each) for each in sys.argv[1:4])
    plugins = Plugins({POLLSTER: {f"bench.{number}": Pollster(measure) for number in range(meters)}})
    source = PollingSource(
        interval=INTERVAL_S,
        meters=("bench.*",),
        resources=tuple(f"resource-{number}" for number in range(resources)),
        jitter=0,
    )
    # It blocks rather than drop: everything is to arrive.
    sink = Sink(publishers=(sys.argv[4],), when_full="block")
    routes = {"all": Route(names=("*",), sinks=("out",))}
    clock = Clock()
    agent = Agent(
        Running.of(Definition(polling={"bench": source}, samples=routes, sinks={"out": sink})),
        plugins=plugins,
        clock=clock,
    )
    await agent.start(polls=False)
    keep_ticks_prompt()
    began, cpu = time.perf_counter(), time.process_time()
    agent.begin()
    for _ in range(cycles):
        await agent._poller.catch_up()
        await agent._poller.idle()
        clock.time += INTERVAL_S
    await agent.stop()
    (counts,) = agent.tally.sinks.values()
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "cpu_s": time.process_time() - cpu,
                "peak_kb": peak_kb(),
                "published": counts["published"],
            }
        )
    )


asyncio.run(main())
