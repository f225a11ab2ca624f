"""A sample: one measured value of one resource at one time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from hitless.change import JSON

SampleKind = Literal["gauge", "delta", "cumulative"]

NOTHING: Final[Mapping[str, JSON]] = MappingProxyType({})
TIMES_KEPT: Final = 64
"""Samples of one tick have one time, and ticks come one after the other."""


class Sample(NamedTuple):
    """A tuple, because an agent makes more of these than of anything else."""

    name: str
    """The meter."""
    volume: float
    unit: str
    resource: str
    at: float
    """Unix time at which the poll was due, so that samples of one tick have one time."""
    kind: SampleKind = "gauge"
    source: str = ""
    """The polling source that asked for it."""
    metadata: Mapping[str, JSON] = NOTHING
    project: str | None = None
    user: str | None = None
    monotonic: float | None = None
    """Seconds of this machine's monotonic clock at `at`, where it was measured here: a clock that is set moves no rate."""

    def to_json(self) -> dict[str, JSON]:
        """With the keys of Ceilometer's samples, where there is one."""
        found: dict[str, JSON] = {
            "counter_name": self.name,
            "counter_type": self.kind,
            "counter_unit": self.unit,
            "counter_volume": self.volume,
            "resource_id": self.resource,
            "timestamp": timestamp(self.at),
            "source": self.source,
            "resource_metadata": dict(self.metadata),
        }
        if self.project is not None:
            found["project_id"] = self.project
        if self.user is not None:
            found["user_id"] = self.user
        return found


@lru_cache(TIMES_KEPT)
def timestamp(at: float) -> str:
    """ISO 8601, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat()
