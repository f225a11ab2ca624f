"""Events: what happened, told to whoever listens in this process (logs, metrics, the control socket, systemd)."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hitless.change.deadline import Clock
from hitless.change.wire import JSON

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    at: float
    """Unix time."""
    name: str
    """`subject.verb`, as in `change.committed`."""
    fields: Mapping[str, JSON]

    def to_json(self) -> dict[str, JSON]:
        return {"at": self.at, "name": self.name, "fields": self.fields}


Subscriber = Callable[[Event], None]


class Events:
    """Tells subscribers, in the order in which they came, and remembers the last `keep` events.

    Subscribers are called at once, in the emitter's task: they must not block. One that raises is logged
    with its traceback, stays subscribed, and keeps neither the emitter nor the others from going on: a
    broken metrics hook must never fail a change. To be used from the event loop's thread only.
    """

    def __init__(self, *, keep: int = 256, clock: Clock = time.time) -> None:
        self._clock: Final = clock
        self._kept: Final[deque[Event]] = deque(maxlen=keep)
        self._subscribers: Final[dict[object, Subscriber]] = {}

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every event from now on; the returned function ends that, however often called."""
        subscription = object()  # so that one who subscribes twice can leave twice
        self._subscribers[subscription] = subscriber

        def unsubscribe() -> None:
            self._subscribers.pop(subscription, None)

        return unsubscribe

    def emit(self, name: str, /, **fields: JSON) -> Event:
        event = Event(self._clock(), name, fields)
        self._kept.append(event)
        for subscriber in tuple(self._subscribers.values()):
            try:
                subscriber(event)
            except Exception:
                log.exception("a subscriber failed on the event %s; the others were told", name)
        return event

    def recent(self, n: int) -> tuple[Event, ...]:
        """The last `n` events, oldest first."""
        return tuple(self._kept)[-n:] if n > 0 else ()
