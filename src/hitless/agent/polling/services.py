"""Hitless's own services on this machine, by their control sockets: `service://NAME`. The discovery `services` finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from hitless.agent.polling.discovery import discovery
from hitless.agent.polling.pollster import PermanentFailure, Poll, Pollster, pollster
from hitless.agent.sample import Sample, SampleKind
from hitless.control.client import ControlClient
from hitless.control.errors import ControlError
from hitless.control.paths import find
from hitless.control.paths import services as living

SCHEME: Final = "service://"
SERVICES: Final = "services"
SHARE: Final = 0.8


@discovery(group_id=None)
def services(_: str | None) -> Iterable[str]:
    return [f"{SCHEME}{each.name}" for each in living() if each.alive]


Status = Mapping[str, Any]
Read = Callable[[Status | None], float | None]


def _meter(read: Read, unit: str, kind: SampleKind = "gauge") -> Pollster:
    @pollster(discovery=SERVICES)
    def measure(poll: Poll) -> Iterator[Sample]:
        if wrong := [each for each in poll.resources if not each.startswith(SCHEME)]:
            raise PermanentFailure(wrong, f"{poll.meter} polls {SCHEME}NAME")
        for resource in poll.resources:
            name = resource.removeprefix(SCHEME)
            status = poll.cache.get((_asked, name), partial(_asked, name, poll.timeout_s * SHARE))
            if (volume := read(status)) is not None:
                yield poll.sample(volume, unit=unit, resource=resource, kind=kind)

    return measure


def _asked(name: str, timeout_s: float) -> Status | None:
    """What it says of itself; None if it does not answer."""
    try:
        with ControlClient(find(name), timeout_s) as service:
            found = service.call("status")
    except ControlError:
        return None
    return found if isinstance(found, dict) else None


def _of(key: str) -> Read:
    """A number of the status."""

    def read(status: Status | None) -> float | None:
        value = None if status is None else status.get(key)
        return float(value) if isinstance(value, int | float) else None

    return read


def _drift(status: Status | None) -> float | None:
    """1 while what was asked for last is not what is in force."""
    if status is None or "applied_hash" not in status:
        return None
    return float(status["applied_hash"] != status.get("attempted_hash"))


def _draining(status: Status | None) -> float | None:
    return None if status is None else float(len(status.get("drains") or ()))


def _workers(status: Status | None) -> float | None:
    if status is None:
        return None
    return float(sum(len(each.get("workers") or ()) for each in status.get("generations") or ()))


up: Final = _meter(lambda status: float(status is not None), "up")
generation: Final = _meter(_of("generation"), "generation")
drift: Final = _meter(_drift, "drift")
draining: Final = _meter(_draining, "generation")
workers: Final = _meter(_workers, "process")
