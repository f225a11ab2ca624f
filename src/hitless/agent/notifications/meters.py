"""Samples from notifications, as meter definitions say."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hitless.agent.notifications.definitions import KINDS, MeterDefinition
from hitless.agent.notifications.field import Field
from hitless.agent.notifications.notification import Notification, moment
from hitless.agent.notifications.path import Path, PathError
from hitless.agent.plugins import Plugins
from hitless.agent.sample import Sample

SOURCE: Final = "openstack"
"""Ceilometer's `sample_source`."""
RESERVED: Final = "metering."
"""What a user's own metadata must begin with to be taken."""
RESERVED_LENGTH: Final = 256
SEVERAL: Final = ("name", "type", "unit", "volume", "resource_id", "user_id", "project_id", "timestamp")


class Meter:
    """One definition, ready for use."""

    def __init__(self, definition: MeterDefinition, plugins: Plugins) -> None:
        """Raises PathError, PluginError, ValueError."""
        self._types: Final = [re.compile(each) for each in definition.event_type]
        self._lookup: Final = definition.lookup
        self._texts: Final = {name: _Text(getattr(definition, name)) for name in ("name", "type", "unit")}
        fields = {name: getattr(definition, name) for name in SEVERAL[3:]}
        self._fields: Final = {
            name: Field(value, plugins) for name, value in fields.items() if value is not None
        }
        self._user: Final = Field(("ctxt.user_id", "ctxt.user"), plugins)
        self._project: Final = Field(("ctxt.project_id", "ctxt.tenant_id"), plugins)
        self._metadata: Final = {name: Field(each, plugins) for name, each in definition.metadata.items()}
        user = definition.user_metadata
        self._user_metadata: Final = None if user is None else Field(user, plugins)

    def takes(self, event_type: str) -> bool:
        return any(each.match(event_type) for each in self._types)

    def samples(self, notification: Notification) -> Iterator[Sample]:
        """Those that have a volume. Raises ValueError: the notification cannot be measured so."""
        body = notification.body
        rows = self._rows(body) if self._lookup else [self._row(body)]
        metadata = self._made_metadata(notification)
        for row in rows:
            if (made := _sample(row, notification, metadata)) is not None:
                yield made

    def _row(self, body: Mapping[str, Any]) -> dict[str, Any]:
        row = {name: each.first(body) for name, each in self._fields.items()}
        row |= {name: each.first(body) for name, each in self._texts.items()}
        return self._with_owner(row, body)

    def _rows(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One for each value of what `lookup` names; none if these are not equally many."""
        found: dict[str, list[Any]] = {}
        for name in SEVERAL:
            each = self._texts.get(name) or self._fields.get(name)
            if each is not None and (values := each.all(body) or name in self._lookup):
                found[name] = [] if values is True else values
        count = len(found["name"])
        for name, values in found.items():
            if len(values) != count and (len(values) != 1 or name in self._lookup):
                if count:
                    raise ValueError(f"{len(values)} of {count} meters have a {name}")
                return []
        columns = {
            name: values if len(values) == count else itertools.repeat(values[0], count)
            for name, values in found.items()
        }
        rows = zip(*columns.values(), strict=True)
        return [self._with_owner(dict(zip(columns, row, strict=True)), body) for row in rows]

    def _with_owner(self, row: dict[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
        if row.get("user_id") is None:
            row["user_id"] = self._user.first(body)
        if row.get("project_id") is None:
            row["project_id"] = self._project.first(body)
        return row

    def _made_metadata(self, notification: Notification) -> dict[str, Any]:
        body = notification.body
        found = {name: value for name, each in self._metadata.items() if (value := each.first(body))}
        user = None if self._user_metadata is None else self._user_metadata.first(body)
        if isinstance(user, Mapping) and (reserved := _reserved(user)):
            found["user_metadata"] = reserved
        if not found:
            found = dict(notification.payload) if isinstance(notification.payload, Mapping) else {}
            found |= {"event_type": notification.event_type, "host": notification.publisher_id}
        return found


class _Text:
    """A path where it finds something, else itself."""

    def __init__(self, text: str) -> None:
        self._text: Final = text
        try:
            self._path: Path | None = Path(text)
        except PathError:
            self._path = None

    def first(self, body: Mapping[str, Any]) -> str:
        return str(next((each for each in self._found(body) if each is not None), self._text))

    def all(self, body: Mapping[str, Any]) -> list[Any]:
        found = self._found(body)
        return found if found or self._text.startswith("$") else [self._text]

    def _found(self, body: Mapping[str, Any]) -> list[Any]:
        return [] if self._path is None else [each.value for each in self._path.find(body)]


def _sample(row: Mapping[str, Any], notification: Notification, metadata: Mapping[str, Any]) -> Sample | None:
    if (volume := _number(row["volume"])) is None:
        return None
    if row["type"] not in KINDS:
        raise ValueError(f"the type of {row['name']} is {row['type']}; expected {', '.join(KINDS)}")
    stamp = row.get("timestamp")
    return Sample(
        name=str(row["name"]),
        volume=volume,
        unit=str(row["unit"]),
        resource=_text(row.get("resource_id")) or "",
        at=notification.at if stamp is None else moment(str(stamp)).timestamp(),
        kind=row["type"],
        source=SOURCE,
        metadata=metadata,
        user=_text(row["user_id"]),
        project=_text(row["project_id"]),
    )


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _reserved(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key[len(RESERVED) :].replace(".", "_"): value[:RESERVED_LENGTH] if isinstance(value, str) else value
        for key, value in metadata.items()
        if key.startswith(RESERVED)
    }
