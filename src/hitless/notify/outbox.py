"""Notices on their way to one sink: a bounded queue, and a thread that waits where the change must not."""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from hitless.change import Deadline
from hitless.notify.notice import Notice
from hitless.notify.sink import Interruptible, Sink, SinkFailed

log = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 1000
INTERRUPTED_S: Final = 1.0
"""For a sink that is broken off to say so."""


@dataclass(frozen=True, slots=True)
class Counts:
    delivered: int
    failed: int
    """Given up after the last attempt."""
    dropped: int
    """Never tried: the queue was full, or the service ended."""
    waiting: int
    trouble: str
    """Why the last attempt failed; empty if it did not."""


class Outbox:
    """`put` never blocks. When the queue is full the oldest notice is dropped, counted and logged."""

    def __init__(self, sink: Sink, *, limit: int = QUEUE_LIMIT) -> None:
        self.sink: Final = sink
        self._limit: Final = limit
        self._queue: Final[deque[Notice]] = deque()
        self._changed: Final = threading.Condition()
        self._closing: Final = threading.Event()
        self._delivered = self._failed = self._dropped = self._unfinished = 0
        self._trouble = ""
        self._thread: Final = threading.Thread(target=self._run, name=f"notify-{sink.name}", daemon=True)
        self._thread.start()

    def put(self, notice: Notice) -> None:
        with self._changed:
            if self._closing.is_set():
                self._drop(notice)
                return
            if len(self._queue) >= self._limit:
                self._drop(self._queue.popleft())
                self._unfinished -= 1
            self._queue.append(notice)
            self._unfinished += 1
            self._changed.notify_all()

    @property
    def counts(self) -> Counts:
        with self._changed:
            return Counts(self._delivered, self._failed, self._dropped, self._unfinished, self._trouble)

    def hurry(self) -> None:
        """Take no more, and try each that waits once, without a pause."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()

    def close(self, deadline: Deadline) -> None:
        """Hurry; what is left at the deadline is dropped, and a sink that is still at work is broken off if it can be."""
        self.hurry()
        with self._changed:
            self._wait(deadline)
            while self._queue:
                self._drop(self._queue.popleft())
                self._unfinished -= 1
            is_at_work = self._unfinished > 0
        if is_at_work and isinstance(self.sink, Interruptible):
            self.sink.interrupt()
            with self._changed:
                self._wait(Deadline.after(INTERRUPTED_S))

    def _wait(self, deadline: Deadline) -> None:
        while self._unfinished and not deadline.expired:
            self._changed.wait(deadline.remaining())

    def _run(self) -> None:
        # Signals belong to the program's own threads.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (notice := self._next()) is not None:
            is_delivered = self._deliver(notice)
            with self._changed:
                self._delivered += is_delivered
                self._failed += not is_delivered
                self._unfinished -= 1
                self._changed.notify_all()

    def _next(self) -> Notice | None:
        """The next notice; None when there will be none."""
        with self._changed:
            while not self._queue:
                if self._closing.is_set():
                    return None
                self._changed.wait()
            return self._queue.popleft()

    def _deliver(self, notice: Notice) -> bool:
        retries = self.sink.retries
        for attempt in range(1, retries.attempts + 1):
            trouble, is_final = self._attempt(notice)
            self._note(trouble)
            if not trouble:
                return True
            if is_final or attempt == retries.attempts or self._closing.wait(retries.pause_s(attempt)):
                break
        log.error(
            "%s: %s of change %s was not delivered: %s",
            self.sink.name,
            notice.event_type,
            notice.change,
            trouble,
        )
        return False

    def _attempt(self, notice: Notice) -> tuple[str, bool]:
        """What went wrong, and whether it always would."""
        try:
            self.sink.send(notice)
        except SinkFailed as error:
            return str(error) or "it gave no reason", error.is_final
        except (Exception, SystemExit) as error:  # an exit ends this thread, and with it all that follows
            log.exception("%s failed in a way that it does not know", self.sink.name)
            return f"{type(error).__name__}", True
        return "", False

    def _note(self, trouble: str) -> None:
        """Log when the sink is down, and when it is back; not each attempt in between."""
        with self._changed:
            before, self._trouble = self._trouble, trouble
        if trouble and not before:
            log.warning("%s: %s", self.sink.name, trouble)
        elif before and not trouble:
            log.info("%s takes notices again", self.sink.name)

    def _drop(self, notice: Notice) -> None:
        self._dropped += 1
        log.error(
            "%s: %s of change %s was dropped (%d so far)",
            self.sink.name,
            notice.event_type,
            notice.change,
            self._dropped,
        )
