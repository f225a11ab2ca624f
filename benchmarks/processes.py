"""Processes as /proc shows them: a server's whole tree, what memory it takes, and its end. Only ever by
pid."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

KILLED_S = 5.0
"""What the kernel may take to end a killed process."""


class Pid(NamedTuple):
    """A process that cannot be confused with a later one of the same number."""

    number: int
    started: int
    """Clock ticks since boot."""

    @property
    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        seen = _stat(self.number)
        return seen is not None and seen.started == self.started and seen.state != "Z"


class Stat(NamedTuple):
    state: str
    parent: int
    started: int
    ticks: int
    """Of CPU time, in user and system mode."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of all processes of a server, in MiB."""

    pss: float
    """Proportional set size: shared pages are divided among those who share them, so a sum counts them
    once."""
    processes: int


def tree(root: int) -> list[Pid]:
    """`root` and all its descendants that run now."""
    children: dict[int, list[int]] = {}
    stats: dict[int, Stat] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            stats[int(entry.name)] = stat
            children.setdefault(stat.parent, []).append(int(entry.name))
    found, left = [], [root]
    while left:
        number = left.pop()
        if number in stats:
            found.append(Pid(number, stats[number].started))
            left += children.get(number, [])
    return found


def memory(root: int) -> Memory:
    """Of `root` and its descendants."""
    sizes = [size for pid in tree(root) if (size := _smaps(pid.number, "Pss:")) is not None]
    return Memory(sum(sizes) / 1024, len(sizes))


def cpu_s(root: int) -> float:
    """CPU seconds that `root` and the descendants that run now have used since they began."""
    stats = [stat for pid in tree(root) if (stat := _stat(pid.number)) is not None]
    return sum(stat.ticks for stat in stats) / os.sysconf("SC_CLK_TCK")


def rss(number: int) -> float:
    """Resident set of one process in MiB."""
    return (_smaps(number, "Rss:") or 0) / 1024


def pss(number: int) -> float:
    """Proportional set of one process in MiB."""
    return (_smaps(number, "Pss:") or 0) / 1024


def end(root: int, *, grace_s: float = 10.0) -> None:
    """SIGTERM to `root`; what is left of its tree after `grace_s` is killed. `root` itself must be reaped by
    its parent."""
    everyone = tree(root)
    with suppress(ProcessLookupError):
        os.kill(root, signal.SIGTERM)
    _await_end(root, everyone, grace_s)
    for pid in everyone:
        if pid.alive:
            with suppress(ProcessLookupError):
                os.kill(pid.number, signal.SIGKILL)
    _await_end(root, everyone, KILLED_S)


def _await_end(root: int, everyone: list[Pid], timeout_s: float) -> None:
    """Until all have ended or the deadline passes; descendants born meanwhile are added to `everyone`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(pid.alive for pid in everyone):
        time.sleep(0.02)
        everyone += [pid for pid in tree(root) if pid not in everyone]


def _stat(number: int) -> Stat | None:
    try:
        text = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return Stat(fields[0], int(fields[1]), int(fields[19]), int(fields[11]) + int(fields[12]))


def _smaps(number: int, field: str) -> int | None:
    """Kilobytes of a field of smaps_rollup; None if the process is gone."""
    try:
        for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None
