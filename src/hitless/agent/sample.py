"""A sample: one measured value of one resource at one time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from hitless.change import JSON

SampleKind = Literal["gauge", "delta", "cumulative"]


@dataclass(frozen=True, slots=True)
class Sample:
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
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    user: str | None = None
    project: str | None = None

    def to_json(self) -> dict[str, JSON]:
        """With the keys of Ceilometer's samples, where there is one."""
        whose: dict[str, JSON] = {"user_id": self.user, "project_id": self.project}
        return {
            "counter_name": self.name,
            "counter_type": self.kind,
            "counter_unit": self.unit,
            "counter_volume": self.volume,
            "resource_id": self.resource,
            "timestamp": datetime.fromtimestamp(self.at, UTC).isoformat(),
            "source": self.source,
            "resource_metadata": dict(self.metadata),
            **{key: value for key, value in whose.items() if value is not None},
        }
