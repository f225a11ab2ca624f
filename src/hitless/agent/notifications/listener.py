"""A listener: takes messages of one broker, in batches, and acknowledges them when what they gave has been taken.

1. A message is acknowledged only after the publishers took what it gave, or the dead-letter queue has it.
2. Batches are handled one after the other, in the order in which their messages came.
3. What is here and not acknowledged is bounded; while publishers do not take, nothing more is asked for.
4. A connection that is lost is made again, with growing waits; the broker gives again what was not acknowledged.
5. Closing gives back what was not begun, and leaves nothing unacknowledged.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from hitless.agent.notifications.broker import Broker, BrokerError, Received, declare_intake
from hitless.agent.notifications.spec import ListenerSpec
from hitless.agent.notifications.verdict import Dead, Take, Verdict, dead_letter
from hitless.agent.publishers.receipt import NotTaken
from hitless.change import JSON
from hitless.change.threads import in_thread

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often a listener that waits looks at its heartbeat."""
STEADY_S: Final = 10.0
"""A connection that held so long was a good one: the next wait is the first again."""
JITTER: Final = 0.2
"""Share of each wait by which agents spread their attempts."""


class Role(Protocol):
    """What a listener is for. Called in the listener's thread, and made anew for each connection."""

    def declare(self, broker: Broker) -> None:
        """Make the queues that are needed, where they are not there."""

    def consume(self, broker: Broker) -> None:
        """Begin."""

    def tick(self, broker: Broker, *, is_idle: bool) -> None:
        """Called again and again, at least every `LOOK_S`. When it is idle, no batch is in hand."""

    def deliver(self, broker: Broker, batch: Sequence[Received]) -> Sequence[Received] | None:
        """What the pipelines are to have of this batch; None if it has dealt with it, acknowledgement included."""

    def done(self, broker: Broker, batch: Sequence[Received]) -> None:
        """The batch has been acknowledged."""


class Intake:
    """The queues of notifications, whatever order they are taken in by several agents."""

    def __init__(self, spec: ListenerSpec) -> None:
        self._spec: Final = spec

    def declare(self, broker: Broker) -> None:
        declare_intake(broker, self._spec)

    def consume(self, broker: Broker) -> None:
        for queue in self._spec.queues:
            broker.consume(queue)

    def tick(self, broker: Broker, *, is_idle: bool) -> None:
        pass

    def deliver(self, broker: Broker, batch: Sequence[Received]) -> Sequence[Received]:
        return batch

    def done(self, broker: Broker, batch: Sequence[Received]) -> None:
        pass


class Listener:
    """Made and asked on the event loop; it works in a thread of its own."""

    def __init__(
        self, name: str, spec: ListenerSpec, *, role: Callable[[], Role], take: Take, counts: Counter[str]
    ) -> None:
        self.name: Final = name
        self.spec: Final = spec
        self._make_role: Final = role
        self._take: Final = take
        self._counts: Final = counts
        self._loop: Final = asyncio.get_running_loop()
        self._thread: threading.Thread | None = None
        self._stopping: Final = threading.Event()
        self._deadline = float("inf")
        self._ended: Final = asyncio.Event()
        self._wake: Final = _Wake()
        self._state = "new"
        self._trouble: str | None = None
        self._unacked = self._consumers = 0
        self._in_hand: _InHand | None = None

    async def check(self) -> None:
        """Connect and declare, once, so that a change that cannot work is refused. Raises BrokerError."""
        await in_thread(self._check, f"check {self.name}")

    def begin(self) -> None:
        """Consume. Once."""
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()

    async def finish(self) -> None:
        """Take no more; let the batch in hand end, within `finish_timeout`; then disconnect."""
        if not self._stopping.is_set():
            self._deadline = time.monotonic() + self.spec.finish_timeout
            self._stopping.set()
            self._wake.set()
            if self._thread is None:
                self._end()
        await self._ended.wait()

    def status(self) -> dict[str, JSON]:
        counts = self._counts
        names = ("received", "redelivered", "acked", "dead_lettered", "returned", "reconnects", "not_taken")
        return {
            "listener": self.name,
            "broker": self.spec.key,
            "state": self._state,
            "trouble": self._trouble,
            "consumers": self._consumers,
            "unacked": self._unacked,
            **{name: counts[name] for name in names},
        }

    # In the thread

    def _check(self) -> None:
        broker = Broker(self.spec, f"{self.name} check")
        try:
            self._make_role().declare(broker)
        except Exception as error:
            raise BrokerError(f"{self.spec.key}: {type(error).__name__}: {error}") from error
        finally:
            broker.close()

    def _run(self) -> None:
        wait_s = self.spec.reconnect_first
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                self._attempt()
                if time.monotonic() - began > STEADY_S:
                    wait_s = self.spec.reconnect_first
                if not self._stopping.is_set():
                    self._state = "waiting to connect"
                    self._stopping.wait(wait_s * random.uniform(1 - JITTER, 1 + JITTER))
                    wait_s = min(2 * wait_s, self.spec.reconnect_longest)
        finally:
            self._state = "stopped"
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._end)

    def _attempt(self) -> None:
        """Connect and serve until it is to stop, or the connection is lost."""
        broker: Broker | None = None
        try:
            self._state = "connecting"
            broker = Broker(self.spec, self.name)
            role = self._make_role()
            role.declare(broker)
            role.consume(broker)
            self._state, self._trouble = "consuming", None
            self._serve(broker, role)
        except Exception as error:  # noqa: BLE001 - whatever kombu raises: a thread that ends would listen no more
            self._trouble = (
                str(error) if isinstance(error, BrokerError) else f"{type(error).__name__}: {error}"
            )
            self._counts["reconnects"] += 1
            log.warning("%s: %s", self.name, self._trouble)
        finally:
            self._abandon()
            if broker is not None:
                self._counts["returned"] += broker.buffered
                broker.close()
            self._unacked = self._consumers = 0

    def _serve(self, broker: Broker, role: Role) -> None:
        while True:
            self._settle(broker, role)
            is_idle = self._in_hand is None
            if self._stopping.is_set():
                if is_idle or time.monotonic() > self._deadline:
                    return
            else:
                role.tick(broker, is_idle=is_idle)
                if is_idle and broker.buffered:
                    self._start(broker, role, broker.take(self.spec.batch_size))
                    continue
            self._unacked = broker.buffered + (0 if self._in_hand is None else len(self._in_hand.batch))
            self._consumers = len(broker.consumed)
            broker.wait(LOOK_S, self._wake.descriptor)
            self._wake.clear()

    def _start(self, broker: Broker, role: Role, batch: Sequence[Received]) -> None:
        self._counts["received"] += len(batch)
        self._counts["redelivered"] += sum(each.redelivered for each in batch)
        self._give(broker, role, batch)

    def _give(self, broker: Broker, role: Role, batch: Sequence[Received]) -> None:
        wanted = role.deliver(broker, batch)
        if wanted is not None:
            future = asyncio.run_coroutine_threadsafe(self._take(wanted), self._loop)
            future.add_done_callback(lambda _: self._wake.set())
            self._in_hand = _InHand(batch, wanted, future)

    def _settle(self, broker: Broker, role: Role) -> None:
        """Acknowledge the batch in hand, if it has ended."""
        in_hand = self._in_hand
        if in_hand is None or not in_hand.future.done():
            return
        self._in_hand = None
        if isinstance(in_hand.future.exception(), NotTaken):
            more = broker.take(self.spec.batch_size)
            self._counts["received"] += len(more)
            self._give(broker, role, [*in_hand.batch, *more])
            return
        put_aside(broker, zip(in_hand.wanted, in_hand.future.result(), strict=True), self._counts)
        broker.ack(in_hand.batch)
        self._counts["acked"] += len(in_hand.batch)
        role.done(broker, in_hand.batch)

    def _abandon(self) -> None:
        """The batch in hand will be given again by the broker: try it no more."""
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is not None:
            self._counts["returned"] += len(in_hand.batch)
            in_hand.future.cancel()

    def _end(self) -> None:
        self._wake.close()
        self._ended.set()


@dataclass(frozen=True, slots=True)
class _InHand:
    batch: Sequence[Received]
    wanted: Sequence[Received]
    """What the pipelines have of it."""
    future: concurrent.futures.Future[Sequence[Verdict]]


def put_aside(broker: Broker, verdicts: Iterable[tuple[Received, Verdict]], counts: Counter[str]) -> None:
    """Send what is dead to the dead-letter queue; when this returns the broker has it."""
    dead = [(message, verdict) for message, verdict in verdicts if isinstance(verdict, Dead)]
    if not dead:
        return
    queue = broker.dead_letter_queue
    broker.publish([dead_letter(message, verdict, queue) for message, verdict in dead])
    counts["dead_lettered"] += len(dead)
    for message, verdict in dead:
        log.warning("put aside to %s: %s (from %s)", queue, verdict.detail, message.queue)


class _Wake:
    """Ends a listener's waiting, from any thread."""

    def __init__(self) -> None:
        self.descriptor: Final = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock: Final = threading.Lock()
        self._is_closed = False

    def set(self) -> None:
        with self._lock:
            if not self._is_closed:
                os.eventfd_write(self.descriptor, 1)

    def clear(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def close(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self.descriptor)
