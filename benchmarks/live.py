"""``python -m benchmarks.live``: what a lease costs, and what a change of one of many resources costs.

    PYTHONPATH=src python -m benchmarks.live [--resources 1000] [--changes 51] [--leases 200000]

Prints one JSON object. Times are medians; a lease is shown next to a bare `threading.Lock` around a dict look-up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict

from hitless.change import Event
from hitless.live import Each, EachKey, Runtime

ROUNDS = 7


class Backend(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str
    size: int = 10


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    backends: dict[str, Backend]


class Driver:
    def __init__(self, key: str, backend: Backend) -> None:
        self.key, self.backend = key, backend


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.live")
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=51)
    parser.add_argument("--leases", type=int, default=200_000)
    chosen = parser.parse_args()
    print(json.dumps(asyncio.run(measure(chosen.resources, chosen.changes, chosen.leases)), indent=2))


async def measure(resources: int, changes: int, leases: int) -> dict[str, Any]:
    runtime = Runtime(Settings)
    built: list[str] = []

    @runtime.resource(per="backends")
    async def driver(backend: Annotated[Backend, Each()], key: Annotated[str, EachKey()]) -> Driver:
        built.append(key)
        return Driver(key, backend)

    backends = {f"b{number}": Backend(url=f"tcp://host/{number}") for number in range(resources)}
    await runtime.start(settings=Settings(backends=backends))
    found = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "resources": resources}
    found |= await _change(runtime, backends, built, changes)
    found |= await _lease(runtime, leases)
    await runtime.stop()
    return found


async def _change(
    runtime: Runtime[Settings], backends: dict[str, Backend], built: list[str], changes: int
) -> dict[str, Any]:
    """Of `runtime.plan` with its diff and the commit, and of the whole reload: build, journal and all."""
    commits: list[float] = []
    plans: list[float] = []
    whole: list[float] = []

    def note(event: Event) -> None:
        if event.name == "change.committed":
            timings: Any = event.fields["timings"]
            commits.append(timings["commit"])

    stop = runtime.subscribe(note)
    for number in range(changes):
        wanted = Settings(backends={**backends, "b0": Backend(url=f"tcp://other/{number}")})
        built.clear()
        began = time.perf_counter()
        runtime.plan(wanted)
        plans.append(time.perf_counter() - began)
        began = time.perf_counter()
        await runtime.reload(wanted)
        whole.append(time.perf_counter() - began)
        assert built == ["b0"]
        await runtime.drained()
    stop()
    both = [plan + commit for plan, commit in zip(plans, commits, strict=True)]
    return {"plan_and_commit_ms": _ms(both), "commit_ms": _ms(commits), "reload_ms": _ms(whole)}


def _ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 2)


async def _lease(runtime: Runtime[Settings], leases: int) -> dict[str, Any]:
    lock, table = threading.Lock(), {("driver", "b1"): object()}

    def bare(count: int) -> None:
        for _ in range(count):
            with lock:
                table["driver", "b1"]

    def in_thread(count: int) -> None:
        for _ in range(count):
            with runtime.lease(Driver, key="b1"):
                pass

    async def in_task(count: int) -> None:
        for _ in range(count):
            async with runtime.lease(Driver, key="b1"):
                pass

    def each(work: Callable[[int], None]) -> float:
        began = time.thread_time()
        work(leases)
        return (time.thread_time() - began) / leases * 1e6

    tasks = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        await in_task(leases)
        tasks.append((time.thread_time() - began) / leases * 1e6)
    return {
        "lock_and_look_up_us": round(statistics.median(each(bare) for _ in range(ROUNDS)), 3),
        "lease_in_thread_us": round(statistics.median(each(in_thread) for _ in range(ROUNDS)), 3),
        "lease_in_task_us": round(statistics.median(tasks), 3),
    }


if __name__ == "__main__":
    main()
