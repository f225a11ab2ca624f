"""What a pollster is: a function that measures, and what it is given.

    @pollster()
    def temperature(poll: Poll) -> Iterator[Sample]:
        for resource in poll.resources:
            yield poll.sample(read(resource), unit="C", resource=resource)

offered as the entry point `room.temperature` of the group `hitless.pollster`. Plain functions run in threads, coroutine
functions on the event loop; the name of the entry point is the meter.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from hitless.agent.sample import NOTHING, Sample, SampleKind
from hitless.change import JSON
from hitless.config import shown

T = TypeVar("T")


class PermanentFailure(Exception):
    """These resources can never be polled so: they are set aside until the source is changed."""

    def __init__(self, resources: Iterable[str], why: str) -> None:
        self.resources: Final = tuple(resources)
        super().__init__(f"{', '.join(str(shown(each)) for each in self.resources)}: {why}")


class Cache:
    """What pollsters of one tick share, so that one request serves several meters. Safe in threads."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._locks: Final[dict[Hashable, threading.Lock]] = {}
        self._values: Final[dict[Hashable, Any]] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, made by the first who asks. If making it fails, the next who asks tries again."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._values:
                self._values[key] = make()
            value: T = self._values[key]
            return value


@dataclass(frozen=True, slots=True)
class Poll:
    """One call of a pollster."""

    meter: str
    source: str
    resources: tuple[str, ...]
    at: float
    """Unix time at which it was due."""
    timeout_s: float
    cache: Cache = field(default_factory=Cache, compare=False)
    monotonic: float | None = None
    """The same time by the monotonic clock, in seconds."""

    def sample(
        self,
        volume: float,
        *,
        unit: str,
        resource: str,
        kind: SampleKind = "gauge",
        metadata: Mapping[str, JSON] | None = None,
    ) -> Sample:
        return Sample(
            self.meter,
            volume,
            unit,
            resource,
            self.at,
            kind,
            self.source,
            NOTHING if metadata is None else metadata,
            None,
            None,
            self.monotonic,
        )


Measure: TypeAlias = Callable[[Poll], Iterable[Sample] | Awaitable[Iterable[Sample]]]


@dataclass(frozen=True, slots=True)
class Pollster:
    measure: Measure
    discovery: str | None = None
    """What finds its resources where the source names neither resources nor discovery."""

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.measure)


def pollster(*, discovery: str | None = None) -> Callable[[Measure], Pollster]:
    """Makes a pollster of a function."""

    def decorate(measure: Measure) -> Pollster:
        return Pollster(measure, discovery)

    return decorate
