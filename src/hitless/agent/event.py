"""An event: something that happened to something at one time, as notifications tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from hitless.change import JSON

Trait: TypeAlias = str | int | float | datetime


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    """Of the notification: the same when it is delivered twice."""
    type: str
    at: float
    """Unix time at which it happened."""
    traits: Mapping[str, Trait] = field(default_factory=dict)
    raw: Mapping[str, JSON] = field(default_factory=dict)
    """The notification as it came, where the definition says that it is kept."""

    @property
    def name(self) -> str:
        """What filters look at."""
        return self.type

    def to_json(self) -> dict[str, JSON]:
        """As Ceilometer's events are serialised; a trait is its name, the number of its type, its value."""
        traits: list[JSON] = [[name, *_typed(value)] for name, value in self.traits.items()]
        return {
            "message_id": self.id,
            "event_type": self.type,
            "generated": datetime.fromtimestamp(self.at, UTC).isoformat(),
            "traits": traits,
            "raw": dict(self.raw),
        }


def _typed(value: Trait) -> tuple[int, JSON]:
    if isinstance(value, datetime):
        return 4, value.isoformat()
    if isinstance(value, float):
        return 3, value
    return (2, value) if isinstance(value, int) else (1, value)
