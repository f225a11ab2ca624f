"""Notifications into samples and events: by definitions, by what polling agents send, and by endpoints of other packages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from hitless.agent.definition import Value
from hitless.agent.event import Event
from hitless.agent.filters import Filter
from hitless.agent.notifications.definitions import KINDS, EventDefinition, MeterDefinition
from hitless.agent.notifications.endpoint import Endpoint
from hitless.agent.notifications.events import event_types, finite
from hitless.agent.notifications.meters import Meter
from hitless.agent.notifications.notification import Notification, moment
from hitless.agent.plugins import LISTENER, PluginError, Plugins
from hitless.agent.sample import Sample

POLLING: Final = "telemetry.polling"
"""The type under which Ceilometer's polling agents send samples."""
TYPES_KEPT: Final = 10_000
"""Of notifications; they are few, but a sender could make up names without end."""


class Conversion(Value):
    """What makes samples and events of notifications."""

    meters: tuple[MeterDefinition, ...] = ()
    events: tuple[EventDefinition, ...] = ()
    drop_unmatched: bool = False
    """Whether notifications that no event definition takes give no event; else one with the usual traits."""
    store_raw: tuple[str, ...] = ()
    """Priorities whose notifications are kept whole in the event."""
    endpoints: tuple[str, ...] = ("*",)
    """Names, globs or `!` exclusions of endpoints of other packages."""


@dataclass(frozen=True, slots=True)
class Converted:
    samples: tuple[Sample, ...] = ()
    events: tuple[Event, ...] = ()


class Converter:
    """Used in one thread at a time."""

    def __init__(self, conversion: Conversion, plugins: Plugins) -> None:
        """Raises PathError, PluginError, ValueError: something cannot be used."""
        meters = [Meter(each, plugins) for each in conversion.meters]
        types = event_types(
            conversion.events,
            plugins,
            raw=frozenset(each.lower() for each in conversion.store_raw),
            drop_unmatched=conversion.drop_unmatched,
        )

        def event_type(notification: Notification) -> Iterator[Event]:
            found = next((each for each in types if each.takes(notification.event_type)), None)
            if found is not None:
                yield found.event(notification)

        def meter(notification: Notification) -> Iterator[Sample]:
            for each in meters:
                if each.takes(notification.event_type):
                    yield from each.samples(notification)

        self._endpoints: Final = (
            Endpoint(meter, ("*",), ("info",)),
            Endpoint(event_type, ("*",), ("info", "error")),
            Endpoint(_polled, (POLLING,), ("info", "sample")),
            *endpoints(conversion.endpoints, plugins),
        )
        self._known: Final[dict[tuple[str, str], tuple[Endpoint, ...]]] = {}

    def convert(self, notification: Notification) -> Converted:
        """Raises EndpointFailed."""
        samples: list[Sample] = []
        events: list[Event] = []
        for each in self._takers(notification.event_type, notification.priority):
            for made in each.make(notification):
                if isinstance(made, Event):
                    events.append(made)
                else:
                    samples.append(made)
        return Converted(tuple(samples), tuple(events))

    def _takers(self, event_type: str, priority: str) -> tuple[Endpoint, ...]:
        found = self._known.get((event_type, priority))
        if found is None:
            found = tuple(each for each in self._endpoints if each.takes(event_type, priority))
            if len(self._known) < TYPES_KEPT:
                self._known[event_type, priority] = found
        return found


def endpoints(patterns: tuple[str, ...], plugins: Plugins) -> Iterator[Endpoint]:
    """Those of other packages that the patterns take. Raises PluginError."""
    for name in plugins.names(LISTENER):
        if patterns and Filter(patterns).takes(name):
            found = plugins.load(LISTENER, name)
            if not isinstance(found, Endpoint):
                raise PluginError(
                    f"the listener {name} is a {type(found).__name__}; make it one with @endpoint()"
                )
            yield found


def _polled(notification: Notification) -> Iterator[Sample]:
    payload: Any = notification.payload
    yield from map(_sample, payload["samples"])


def _sample(row: Any) -> Sample:
    if row["counter_type"] not in KINDS:
        raise ValueError(f"{row['counter_type']} is no type of a sample")
    return Sample(
        name=row["counter_name"],
        volume=finite(float(row["counter_volume"])),
        unit=row["counter_unit"],
        resource=str(row["resource_id"]),
        at=moment(row["timestamp"]).timestamp(),
        kind=row["counter_type"],
        source=row.get("source") or "",
        metadata=row.get("resource_metadata") or {},
        user=row.get("user_id"),
        project=row.get("project_id"),
    )
