"""A notification as OpenStack's services send it: oslo.messaging's formats 1.0 (bare) and 2.0 (in an envelope).

https://docs.openstack.org/oslo.messaging/latest/reference/notifier.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from hitless.change import JSON

VERSION: Final = "oslo.version"
MESSAGE: Final = "oslo.message"
CONTEXT: Final = "_context_"
SHOWN: Final = 80


class Unparsable(Exception):
    """The message is no notification; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Notification:
    event_type: str
    priority: str
    """In lower case, as `info`."""
    publisher_id: str
    message_id: str
    at: float
    """When it was sent, in Unix time."""
    payload: JSON
    context: Mapping[str, JSON]
    body: Mapping[str, JSON] = field(repr=False, default_factory=dict)
    """What paths of definitions look into: `event_type`, `publisher_id`, `payload`, `ctxt`, `metadata`, `priority`."""


def parse(content: bytes | str | Mapping[str, Any]) -> Notification:
    """Raises Unparsable."""
    message = _unwrapped(_table(content, "the message"))
    context = {key[len(CONTEXT) :]: value for key, value in message.items() if key.startswith(CONTEXT)}
    event_type, publisher_id = _text(message, "event_type"), _text(message, "publisher_id")
    message_id, sent = _text(message, "message_id"), _text(message, "timestamp")
    priority = _text(message, "priority").lower() if message.get("priority") else "info"
    if "payload" not in message:
        raise Unparsable("it has no payload")
    body: dict[str, JSON] = {
        "event_type": event_type,
        "publisher_id": publisher_id,
        "priority": priority,
        "payload": message["payload"],
        "ctxt": context,
        "metadata": {"message_id": message_id, "timestamp": sent},
    }
    at = moment(sent).timestamp()
    return Notification(event_type, priority, publisher_id, message_id, at, message["payload"], context, body)


def moment(text: str) -> datetime:
    """ISO 8601, in UTC where it says no zone. Raises Unparsable."""
    try:
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unparsable(f"{_shown(text)} is no time (expected as 2026-11-27 10:00:00.0)") from None


def _unwrapped(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if VERSION not in message and MESSAGE not in message:
        return message
    version = str(message.get(VERSION))
    if version.partition(".")[0] not in ("1", "2"):
        raise Unparsable(f"its envelope has version {_shown(version)}; 1.x and 2.x are known")
    return _table(message.get(MESSAGE), MESSAGE)


def _table(content: Any, what: str) -> Mapping[str, Any]:
    if isinstance(content, bytes | str):
        try:
            # RecursionError: a thousand brackets are no reason to fall over.
            found = json.loads(content, parse_constant=_no_constant, parse_float=_finite)
            _check_text(content, found)
            content = found
        except (ValueError, RecursionError) as error:
            raise Unparsable(f"{what} is not JSON: {error}") from None
    if not isinstance(content, Mapping):
        raise Unparsable(f"{what} is a {type(content).__name__}, not a table")
    return content


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{_shown(text)} is too large for a number")
    return number


def _check_text(content: bytes | str, found: Any) -> None:
    """Refuse halves of surrogate pairs, which JSON can hold and no file or database takes. Raises ValueError."""
    if (b"\\ud" in content.lower()) if isinstance(content, bytes) else ("\\ud" in content.lower()):
        json.dumps(found, ensure_ascii=False).encode()


def _text(message: Mapping[str, Any], key: str) -> str:
    found = message.get(key)
    if not isinstance(found, str) or not found:
        raise Unparsable(f"{key} is {_shown(found)}, not text" if key in message else f"it has no {key}")
    return found


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
