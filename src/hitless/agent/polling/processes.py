"""Processes by name: resources are `process://NAME`, where NAME is that of the program as `ps -o comm` shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import psutil

from hitless.agent.polling.local import LOCAL_NODE
from hitless.agent.polling.pollster import PermanentFailure, Poll, Pollster, pollster
from hitless.agent.sample import Sample

SCHEME: Final = "process://"


def _by_name() -> dict[str, list[psutil.Process]]:
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter(["name"]):
        found.setdefault(process.info["name"] or "", []).append(process)
    return found


def _sum(read: Callable[[psutil.Process], float], processes: Iterable[psutil.Process]) -> float:
    """Over those that are still there when they are asked."""
    total = 0.0
    for process in processes:
        try:
            total += read(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def _of_named(read: Callable[[psutil.Process], float], unit: str) -> Pollster:
    @pollster()
    def measure(poll: Poll) -> Iterator[Sample]:
        wrong = [each for each in poll.resources if not each.startswith(SCHEME)]
        if wrong:
            raise PermanentFailure(wrong, f"{poll.meter} polls {SCHEME}NAME")
        processes = poll.cache.get(_by_name, _by_name) if poll.resources else {}
        for resource in poll.resources:
            volume = _sum(read, processes.get(resource.removeprefix(SCHEME), ()))
            yield poll.sample(volume, unit=unit, resource=resource)

    return measure


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@pollster(discovery=LOCAL_NODE)
def number(poll: Poll) -> Iterator[Sample]:
    """How many processes this machine runs."""
    for resource in poll.resources:
        yield poll.sample(float(len(psutil.pids())), unit="process", resource=resource)


count: Final = _of_named(lambda _: 1.0, "process")
cpu_time: Final = _of_named(_seconds, "s")
memory_rss: Final = _of_named(lambda process: float(process.memory_info().rss), "B")
threads: Final = _of_named(lambda process: float(process.num_threads()), "thread")
