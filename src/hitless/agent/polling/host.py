"""What this machine does: processor, memory, disks, file systems, network. Cumulative values count since boot."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import psutil

from hitless.agent.polling.local import LOCAL_NODE
from hitless.agent.polling.pollster import PermanentFailure, Poll, Pollster, pollster
from hitless.agent.sample import Sample, SampleKind


def _this_machine(poll: Poll) -> str:
    """The machine as a resource. Raises PermanentFailure: the source names another one."""
    name = socket.gethostname()
    if others := [each for each in poll.resources if each != name]:
        raise PermanentFailure(others, f"{poll.meter} measures this machine ({name}) only")
    return name


def _one(read: Callable[[], float], unit: str, kind: SampleKind = "gauge") -> Pollster:
    """A pollster of one value."""

    @pollster(discovery=LOCAL_NODE)
    def measure(poll: Poll) -> Iterator[Sample]:
        if poll.resources:
            yield poll.sample(read(), unit=unit, resource=_this_machine(poll), kind=kind)

    return measure


def _each(read: Callable[[], Mapping[str, Any]], attribute: str, label: str) -> Pollster:
    """A pollster of a cumulative value of each part; parts are read once for all meters of a tick."""

    @pollster(discovery=LOCAL_NODE)
    def measure(poll: Poll) -> Iterator[Sample]:
        if not poll.resources:
            return
        machine = _this_machine(poll)
        for name, counters in poll.cache.get(read, read).items():
            volume = float(getattr(counters, attribute))
            yield poll.sample(
                volume, unit="B", resource=f"{machine}/{name}", kind="cumulative", metadata={label: name}
            )

    return measure


def _disks() -> Mapping[str, Any]:
    return psutil.disk_io_counters(perdisk=True) or {}


def _interfaces() -> Mapping[str, Any]:
    return psutil.net_io_counters(pernic=True) or {}


def _file_systems() -> Mapping[str, Any]:
    """Usage by mount point; one that is gone or may not be looked at is left out."""
    found = {}
    for partition in psutil.disk_partitions(all=False):
        try:
            found[partition.mountpoint] = psutil.disk_usage(partition.mountpoint)
        except OSError:
            continue
    return found


def _file_system(attribute: str) -> Pollster:
    @pollster(discovery=LOCAL_NODE)
    def measure(poll: Poll) -> Iterator[Sample]:
        if not poll.resources:
            return
        machine = _this_machine(poll)
        for mount, usage in poll.cache.get(_file_systems, _file_systems).items():
            volume = float(getattr(usage, attribute))
            yield poll.sample(volume, unit="B", resource=f"{machine}:{mount}", metadata={"mount": mount})

    return measure


@pollster(discovery=LOCAL_NODE)
def cpu_time(poll: Poll) -> Iterator[Sample]:
    """Seconds spent in each mode by all processors together."""
    if not poll.resources:
        return
    machine = _this_machine(poll)
    for mode, seconds in psutil.cpu_times()._asdict().items():
        yield poll.sample(
            float(seconds), unit="s", resource=machine, kind="cumulative", metadata={"mode": mode}
        )


cpu_count: Final = _one(lambda: float(psutil.cpu_count() or 1), "cpu")
load_1: Final = _one(lambda: os.getloadavg()[0], "process")
load_5: Final = _one(lambda: os.getloadavg()[1], "process")
load_15: Final = _one(lambda: os.getloadavg()[2], "process")
memory_total: Final = _one(lambda: float(psutil.virtual_memory().total), "B")
memory_available: Final = _one(lambda: float(psutil.virtual_memory().available), "B")
swap_used: Final = _one(lambda: float(psutil.swap_memory().used), "B")
disk_read: Final = _each(_disks, "read_bytes", "device")
disk_write: Final = _each(_disks, "write_bytes", "device")
network_incoming: Final = _each(_interfaces, "bytes_recv", "interface")
network_outgoing: Final = _each(_interfaces, "bytes_sent", "interface")
filesystem_total: Final = _file_system("total")
filesystem_used: Final = _file_system("used")
