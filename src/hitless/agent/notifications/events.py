"""Events from notifications, as event definitions say: the last one that takes a notification makes its event."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hitless.agent.event import Event, Trait
from hitless.agent.notifications.definitions import EventDefinition, TraitRow
from hitless.agent.notifications.field import Field
from hitless.agent.notifications.notification import Notification, moment
from hitless.agent.plugins import Plugins

TEXT_LENGTH: Final = 255
"""Longer texts are cut, as in Ceilometer."""
DEFAULT_TRAITS: Final[Mapping[str, TraitRow]] = {
    "service": TraitRow(fields="publisher_id"),
    "request_id": TraitRow(fields="ctxt.request_id"),
    "project_id": TraitRow(fields=("payload.tenant_id", "ctxt.project_id")),
    "user_id": TraitRow(fields=("payload.user_id", "ctxt.user_id")),
    "tenant_id": TraitRow(fields=("payload.tenant_id", "ctxt.project_id")),
}


def finite(number: float) -> float:
    """Raises ValueError: it is infinite, or no number."""
    if not math.isfinite(number):
        raise ValueError(f"{number} is no finite number")
    return number


CONVERT: Final[Mapping[str, Callable[[Any], Trait]]] = {
    "text": lambda value: str(value)[:TEXT_LENGTH],
    "int": int,
    "float": lambda value: finite(float(value)),
    "datetime": lambda value: moment(str(value)),
}


class EventType:
    """One definition, ready for use."""

    def __init__(self, definition: EventDefinition, plugins: Plugins, raw: frozenset[str]) -> None:
        """`raw`: priorities whose notifications are kept whole. Raises PathError, PluginError, ValueError."""
        types = definition.event_type
        self._excluded: Final = tuple(each[1:] for each in types if each.startswith("!"))
        self._included: Final = tuple(each for each in types if not each.startswith("!")) or ("*",)
        self._raw: Final = raw
        rows = {
            name: each if isinstance(each, TraitRow) else TraitRow(fields=each)
            for name, each in definition.traits.items()
        }
        self._traits: Final = [
            (name, row.type, Field(row, plugins)) for name, row in {**DEFAULT_TRAITS, **rows}.items()
        ]

    def takes(self, event_type: str) -> bool:
        return _any_of(self._included, event_type) and not _any_of(self._excluded, event_type)

    def event(self, notification: Notification) -> Event:
        """Raises ValueError, TypeError, Unparsable: a trait has not the type that it should have."""
        traits: dict[str, Trait] = {}
        for name, kind, field in self._traits:
            value = field.first(notification.body)
            # Some services send '' for a time or number that is not there.
            if value is None or (value == "" and kind != "text"):
                continue
            traits[name] = CONVERT[kind](value)
        raw = notification.body if notification.priority in self._raw else {}
        return Event(notification.message_id, notification.event_type, notification.at, traits, raw)


def event_types(
    definitions: Sequence[EventDefinition], plugins: Plugins, *, raw: frozenset[str], drop_unmatched: bool
) -> list[EventType]:
    """In the order in which they are asked: the last definition first, and one for all the rest unless that is dropped."""
    made = [EventType(each, plugins, raw) for each in reversed(definitions)]
    if not drop_unmatched:
        made.append(EventType(EventDefinition(event_type=("*",)), plugins, raw))
    return made


def _any_of(globs: Sequence[str], name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, each) for each in globs)
