"""What a lease costs, and what a change of one of many resources costs.

`plan` and `commit` are what a change costs beyond building what it builds; the whole reload has that, and the
journal's row. Of leases CPU time is counted, next to a bare `threading.Lock` around a look-up in a dict: no
server can be the peer here. All are medians.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict

from benchmarks.options import Options
from benchmarks.results import Results, Row
from hitless.change import Event
from hitless.live import Each, EachKey, Runtime

NAME = "live"
RESOURCES = 1000
CHANGES = 51
LEASES = 200_000
ROUNDS = 7

CHANGE_COLUMNS = {
    "plan and commit ms": "plan_and_commit_ms",
    "plan CPU ms": "plan_cpu_ms",
    "commit ms": "commit_ms",
    "whole reload ms": "reload_ms",
}
LIMITS = {"plan_and_commit_ms": 25.0, "lease_in_thread_us": 2.0, "lease_in_task_us": 3.0}
"""What is promised on a machine of its own."""
LEASE_COLUMNS = {
    "lock and look-up µs": "lock_and_look_up_us",
    "in a thread µs": "lease_in_thread_us",
    "in a task µs": "lease_in_task_us",
}


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


async def measure(options: Options) -> Results:
    costs = await _measure()
    options.note(f"{NAME}: {costs}")
    changed = f"one of {RESOURCES} resources changes, {CHANGES} times"
    changes: Row = {title: f"{costs[key]:.1f}" for title, key in CHANGE_COLUMNS.items()}
    leases: Row = {title: f"{costs[key]:.2f}" for title, key in LEASE_COLUMNS.items()}
    tables = {changed: [changes], "a lease, taken and given back": [leases]}
    missed = [
        f"{key} is {costs[key]}, not below {most}" for key, most in LIMITS.items() if costs[key] >= most
    ]
    return Results(NAME, __doc__ or "", tables, (), costs, missed)


async def _measure() -> dict[str, float]:
    runtime = Runtime(Settings)
    built: list[str] = []

    @runtime.resource(per="backends")
    async def driver(backend: Annotated[Backend, Each()], key: Annotated[str, EachKey()]) -> Driver:
        built.append(key)
        return Driver(key, backend)

    backends = {f"b{number}": Backend(url=f"tcp://host/{number}") for number in range(RESOURCES)}
    await runtime.start(settings=Settings(backends=backends))
    found = await _change(runtime, backends, built)
    found |= await _lease(runtime)
    await runtime.stop()
    return found


async def _change(
    runtime: Runtime[Settings], backends: dict[str, Backend], built: list[str]
) -> dict[str, float]:
    """Of `runtime.plan` with its diff and the commit, and of the whole reload: build, journal and all."""
    commits: list[float] = []
    plans: list[float] = []
    cpu: list[float] = []
    whole: list[float] = []

    def note(event: Event) -> None:
        if event.name == "change.committed":
            timings: Any = event.fields["timings"]
            commits.append(timings["commit"])

    stop = runtime.subscribe(note)
    for number in range(CHANGES):
        wanted = Settings(backends={**backends, "b0": Backend(url=f"tcp://other/{number}")})
        built.clear()
        began, worked = time.perf_counter(), time.thread_time()
        runtime.plan(wanted)
        plans.append(time.perf_counter() - began)
        cpu.append(time.thread_time() - worked)
        began = time.perf_counter()
        await runtime.reload(wanted)
        whole.append(time.perf_counter() - began)
        assert built == ["b0"]
        await runtime.drained()
    stop()
    both = [plan + commit for plan, commit in zip(plans, commits, strict=True)]
    return {
        "plan_and_commit_ms": _ms(both),
        "plan_cpu_ms": _ms(cpu),
        "commit_ms": _ms(commits),
        "reload_ms": _ms(whole),
    }


def _ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 2)


async def _lease(runtime: Runtime[Settings]) -> dict[str, float]:
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
        work(LEASES)
        return (time.thread_time() - began) / LEASES * 1e6

    tasks = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        await in_task(LEASES)
        tasks.append((time.thread_time() - began) / LEASES * 1e6)
    return {
        "lock_and_look_up_us": round(statistics.median(each(bare) for _ in range(ROUNDS)), 3),
        "lease_in_thread_us": round(statistics.median(each(in_thread) for _ in range(ROUNDS)), 3),
        "lease_in_task_us": round(statistics.median(tasks), 3),
    }
