"""Samples and events as they stand in buffers on disk: lists in JSON, for a later version must be able to read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from hitless.agent.event import Event
from hitless.agent.sample import Sample

TIME: Final = "$time"


def encoded_sample(sample: Sample) -> Any:
    return [*sample[:7], dict(sample.metadata), *sample[8:]]


def decoded_sample(found: Any) -> Sample:
    return Sample(*found)


def encoded_event(event: Event) -> Any:
    traits = {
        name: {TIME: value.isoformat()} if isinstance(value, datetime) else value
        for name, value in event.traits.items()
    }
    return [event.id, event.type, event.at, traits, dict(event.raw)]


def decoded_event(found: Any) -> Event:
    identity, kind, at, traits, raw = found
    return Event(
        identity,
        kind,
        at,
        {
            name: datetime.fromisoformat(value[TIME]) if isinstance(value, dict) else value
            for name, value in traits.items()
        },
        raw,
    )
