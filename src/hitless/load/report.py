"""What a load saw, as values: per step and in total, exact and printable as JSON."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from hitless.load.failure import Failure, How, ServerClose


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the moment a request was due to its end, a connection that had to be opened included.

    Nearest-rank percentiles over every request, however it ended; nothing is interpolated or bucketed.
    """

    count: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Of durations in seconds, in any order."""
        if not seconds:
            return cls()
        ranked = sorted(seconds)

        def rank(share: float) -> float:
            return round(ranked[math.ceil(share * len(ranked)) - 1] * 1000, 3)

        return cls(len(ranked), rank(0.5), rank(0.99), rank(0.999), rank(1.0))

    def as_json(self) -> dict[str, float]:
        return {"p50": self.p50_ms, "p99": self.p99_ms, "p99.9": self.p999_ms, "max": self.max_ms}


@dataclass(frozen=True, slots=True)
class Samples:
    """Every request: wall-clock start (seconds since the epoch) and duration in seconds."""

    started: array[float]
    duration: array[float]

    def between(self, begin: float, end: float) -> Latency:
        """Of the requests that were under way at some time within [begin, end]."""
        pairs = zip(self.started, self.duration, strict=True)
        return Latency.of([took for at, took in pairs if at <= end and at + took >= begin])


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """One failed request, for the reader who wants to know which."""

    at: float
    """When it ended, seconds since the epoch."""
    step: str
    client: int
    label: str
    failure: Failure
    how: How
    detail: str

    def __str__(self) -> str:
        return f"{self.step}: client {self.client}: {self.label}: {self.failure} ({self.detail or self.how})"


@dataclass(frozen=True, slots=True)
class StepReport:
    """What was seen in one step. A request belongs to the step in which it *ended*: a reload can only delay
    or break what ends after it began."""

    name: str
    began: float
    """Wall clock, seconds since the epoch."""
    seconds: float
    requests: int
    """Attempts, failed ones included."""
    failures: Mapping[Failure, int] = field(default_factory=dict)
    hows: Mapping[tuple[Failure, How], int] = field(default_factory=dict)
    """Failures by class and by what the kernel said."""
    closes: Mapping[ServerClose, int] = field(default_factory=dict)
    opened: int = 0
    """Connections opened by clients."""
    latency: Latency = Latency()

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def closed_by_server(self) -> int:
        """Connections that the server ended for whatever reason, polite ones included."""
        return sum(self.closes.values())

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "began": round(self.began, 6),
            "seconds": round(self.seconds, 3),
            "requests": self.requests,
            "failed": self.failed,
            "failures": {failure.value: count for failure, count in self.failures.items() if count},
            "ended_by": {
                f"{failure} {how}": count for (failure, how), count in self.hows.items() if how and count
            },
            "closed_by_server": self.closed_by_server,
            "closes": {close.value: count for close, count in self.closes.items() if count},
            "opened": self.opened,
            "latency_ms": self.latency.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A load from its first request to its last."""

    total: StepReport
    steps: tuple[StepReport, ...]
    connections: tuple[int, ...]
    """Per client, how many TCP connections it opened: 1 means that its first one lasted to the end."""
    failed_requests: tuple[FailedRequest, ...]
    """The first 1,000."""
    samples: Samples

    @property
    def requests(self) -> int:
        return self.total.requests

    @property
    def failed(self) -> int:
        return self.total.failed

    @property
    def failures(self) -> Mapping[Failure, int]:
        return self.total.failures

    @property
    def closed_by_server(self) -> int:
        return self.total.closed_by_server

    @property
    def reopened(self) -> int:
        """Clients whose first connection did not last."""
        return sum(count > 1 for count in self.connections)

    def step(self, name: str) -> StepReport:
        """The last step of this name.

        Raises:
            KeyError: there was none.
        """
        for step in reversed(self.steps):
            if step.name == name:
                return step
        raise KeyError(f"no step {name!r}; there were: {', '.join(step.name for step in self.steps)}")

    def as_json(self) -> dict[str, object]:
        return {
            **self.total.as_json(),
            "clients": len(self.connections),
            "reopened_clients": self.reopened,
            "steps": [step.as_json() for step in self.steps],
            "failed_requests": [str(failed) for failed in self.failed_requests[:20]],
        }
