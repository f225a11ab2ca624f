"""From events of changes to notices for every sink."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final

from hitless.change import Deadline, Event, Events
from hitless.notify.notice import BEGINNING, ENDINGS, Notice, beginning, ending
from hitless.notify.outbox import QUEUE_LIMIT, Counts, Outbox
from hitless.notify.sink import Sink


class Notifier:
    """Tells every sink when a change begins and how it ended. Each sink has its own queue and thread: none waits for another.

    Changes of kind `start` are not told: before it nothing served.
    """

    def __init__(
        self, events: Events, sinks: Sequence[Sink], *, service: str, limit: int = QUEUE_LIMIT
    ) -> None:
        self._service: Final = service
        self._host: Final = socket.gethostname()
        self._outboxes: Final = tuple(Outbox(sink, limit=limit) for sink in sinks)
        self._begun: Notice | None = None
        self._unsubscribe: Final[Callable[[], None]] = events.subscribe(self._hear)

    @property
    def counts(self) -> tuple[tuple[str, Counts], ...]:
        """With the name of each sink, in their order."""
        return tuple((each.sink.name, each.counts) for each in self._outboxes)

    def close(self, timeout_s: float) -> None:
        """Listen no more; what waits is tried once, for `timeout_s` altogether. Blocks."""
        self._unsubscribe()
        deadline = Deadline.after(timeout_s)
        for each in self._outboxes:
            each.hurry()  # all of them now: one that hangs must not take the others' time
        for each in self._outboxes:
            each.close(deadline)

    def _hear(self, event: Event) -> None:
        if event.name == BEGINNING and event.fields.get("kind") != "start":
            self._begun = beginning(event, service=self._service, host=self._host)
            self._put(self._begun)
        elif event.name in ENDINGS and self._begun is not None:
            begun, self._begun = self._begun, None
            self._put(ending(event, begun))

    def _put(self, notice: Notice) -> None:
        for each in self._outboxes:
            each.put(notice)
