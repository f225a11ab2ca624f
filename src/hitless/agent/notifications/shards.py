"""Order for each resource over several agents: one agent distributes messages into shard queues, by resource; each shard is taken
by one agent at a time. RabbitMQ's single active consumers do the fail-over of both.

A layout is a number of shards and how resources are hashed to them. Its queues carry its name, so that two layouts never
share one. Who distributes holds the record of the layout in force, a message in a queue of its own. A distributor whose layout is
another one first has the old one drained: it sends a marker into every old queue, behind everything else, and waits until
their takers have answered all of them. Only then it goes on, into the new queues. So no message of a resource is taken
before an earlier one, whatever the agents' configurations are meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from hitless.agent.notifications.broker import Broker, Outgoing, Received, declare_intake
from hitless.agent.notifications.listener import put_aside
from hitless.agent.notifications.notification import Notification, Unparsable, parse
from hitless.agent.notifications.path import Path
from hitless.agent.notifications.spec import ListenerSpec, Shards
from hitless.agent.notifications.verdict import Dead, Reason

log = logging.getLogger(__name__)

SINGLE: Final = {"x-single-active-consumer": True}
OURS: Final = "x-hitless-"
RESOURCE: Final = "x-hitless-resource"
MARKER: Final = "x-hitless-drain"
REPLY_TO: Final = "x-hitless-reply-to"


@dataclass(frozen=True, slots=True)
class Layout:
    name: str
    count: int
    exchange_kind: Literal["direct", "x-consistent-hash"]

    @classmethod
    def of(cls, shards: Shards) -> Layout:
        return cls(shards.name, shards.count, shards.exchange)

    @property
    def _label(self) -> str:
        return f"{self.count}" if self.exchange_kind == "direct" else f"{self.count}h"

    @property
    def exchange(self) -> str:
        return f"{self.name}.shards.{self._label}"

    @property
    def queues(self) -> tuple[str, ...]:
        return tuple(f"{self.name}.shard.{self._label}.{index}" for index in range(self.count))

    def routing_key(self, resource: str) -> str:
        """The same in every process: `hash()` of text is another one in each, and must not be used here."""
        if self.exchange_kind != "direct":
            return resource[:255]
        return str(int.from_bytes(hashlib.sha256(resource.encode()).digest()[:8], "big") % self.count)

    def declare(self, broker: Broker) -> None:
        broker.declare_exchange(self.exchange, self.exchange_kind, durable=True)
        for index, queue in enumerate(self.queues):
            broker.declare_queue(queue, durable=True, arguments=SINGLE)
            # Of a consistent hash, the key is the weight.
            broker.bind(queue, self.exchange, str(index) if self.exchange_kind == "direct" else "1")

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "exchange": self.exchange_kind}


class Draining:
    """Layouts that this agent takes from because they are to be emptied. Shared by its two listeners of one broker."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._layouts: frozenset[Layout] = frozenset()

    def set(self, layouts: frozenset[Layout]) -> None:
        with self._lock:
            self._layouts = layouts

    def get(self) -> frozenset[Layout]:
        with self._lock:
            return self._layouts


class Distributor:
    """From the queues of notifications into the shards; at most one agent does it at a time, the others stand by."""

    def __init__(self, spec: ListenerSpec, counts: Counter[str], draining: Draining) -> None:
        assert spec.shards is not None
        self._spec: Final = spec
        self._counts: Final = counts
        self._layout: Final = Layout.of(spec.shards)
        self._paths: Final = tuple(map(Path, spec.shards.keys))
        self._record_queue: Final = f"{spec.shards.name}.layout"
        self._draining: Final = draining
        self._records: Final[list[Received]] = []
        """Held, not acknowledged, for as long as this agent distributes."""
        self._unanswered: set[str] = set()
        self._replies = ""
        self._phase: Literal["standing by", "draining", "distributing"] = "standing by"

    def declare(self, broker: Broker) -> None:
        declare_intake(broker, self._spec)
        self._layout.declare(broker)
        broker.declare_queue(self._record_queue, durable=True, arguments=SINGLE)

    def consume(self, broker: Broker) -> None:
        self._draining.set(frozenset())
        state = broker.declare_queue(self._record_queue, durable=True, arguments=SINGLE)
        if not state.ready and not state.consumers:
            # Of the first agents perhaps several do this: two records of one layout are as good as one.
            self._write(broker)
        broker.consume(self._record_queue)

    def tick(self, broker: Broker, *, is_idle: bool) -> None:
        if self._phase == "standing by" and self._records:
            old = {self._recorded(each) for each in self._records} - {self._layout}
            if old:
                self._drain(broker, frozenset(old))
            else:
                self._distribute(broker)
        elif self._phase == "draining" and not self._unanswered:
            self._drained(broker)

    def deliver(self, broker: Broker, batch: Sequence[Received]) -> None:
        messages = []
        for each in batch:
            if each.queue == self._record_queue:
                self._take_record(broker, each)
            elif each.queue == self._replies:
                self._unanswered.discard(str(each.headers.get(MARKER)))
            else:
                messages.append(each)
        if messages:
            self._send(broker, messages)

    def done(self, broker: Broker, batch: Sequence[Received]) -> None:
        pass

    def _send(self, broker: Broker, messages: Sequence[Received]) -> None:
        outgoing, dead = [], []
        for each in messages:
            try:
                resource = self._resource(parse(each.body))
            except Unparsable as error:
                dead.append((each, Dead(Reason.UNPARSABLE, str(error))))
                continue
            key = self._layout.routing_key(resource)
            # None of our own headers from outside: with a marker's a message would be taken for one, and vanish.
            plain = {name: value for name, value in each.headers.items() if not name.startswith(OURS)}
            copy = replace(each, headers=plain)
            outgoing.append(
                Outgoing.copy_of(copy, key, exchange=self._layout.exchange, headers={RESOURCE: resource})
            )
        put_aside(broker, dead, self._counts)
        broker.publish(outgoing)
        broker.ack(messages)
        self._counts["acked"] += len(messages)

    def _resource(self, notification: Notification) -> str:
        for path in self._paths:
            for match in path.find(notification.body):
                if isinstance(match.value, str | int) and match.value != "":
                    return str(match.value)
        return notification.publisher_id

    def _take_record(self, broker: Broker, message: Received) -> None:
        try:
            self._recorded(message)
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s: what is no record of a layout is thrown away: %s", self._record_queue, error)
            self._write(broker)  # one more record of our own does no harm, and there must be one
            message.channel.basic_ack(message.tag)
        else:
            self._records.append(message)

    def _recorded(self, message: Received) -> Layout:
        record = json.loads(message.body)
        shards = Shards(name=self._layout.name, count=record["count"], exchange=record["exchange"])
        return Layout.of(shards)

    def _write(self, broker: Broker) -> None:
        broker.publish([Outgoing(self._record_queue, json.dumps(self._layout.to_json()))])

    def _drain(self, broker: Broker, old: frozenset[Layout]) -> None:
        for layout in old:
            layout.declare(broker)
        self._draining.set(old)
        self._replies = broker.declare_queue("", durable=False, exclusive=True).name
        broker.consume(self._replies, no_ack=True)
        queues = [queue for layout in old for queue in layout.queues]
        self._unanswered = set(queues)
        headers = {MARKER: True, REPLY_TO: self._replies}
        broker.publish([Outgoing(queue, "", headers={**headers, MARKER: queue}) for queue in queues])
        self._phase = "draining"
        log.info("%s: draining %d queues of the layout before", self._layout.exchange, len(queues))

    def _drained(self, broker: Broker) -> None:
        before, layouts = list(self._records), self._draining.get()
        self._write(broker)  # before the old records go: there must be one at every instant
        broker.ack(before)
        del self._records[: len(before)]
        self._draining.set(frozenset())
        broker.leave(self._replies)
        for layout in layouts:
            for queue in layout.queues:
                broker.delete_if_idle(queue)
        self._distribute(broker)

    def _distribute(self, broker: Broker) -> None:
        self._phase = "distributing"
        for queue in self._spec.queues:
            broker.consume(queue)
        log.info("%s: this agent distributes", self._layout.exchange)


class Shard:
    """Takes from those shards of which this agent is the active consumer."""

    def __init__(self, spec: ListenerSpec, draining: Draining) -> None:
        assert spec.shards is not None
        self._rebalance_s: Final = spec.shards.rebalance
        self._layout: Final = Layout.of(spec.shards)
        self._draining: Final = draining
        self._extra: frozenset[Layout] = frozenset()
        self._active: Final[set[str]] = set()
        """Queues that have given something since they were asked: only the active consumer is given any."""
        self._next = self._later()

    def declare(self, broker: Broker) -> None:
        self._layout.declare(broker)
        broker.declare_queue(broker.dead_letter_queue, durable=True)

    def consume(self, broker: Broker) -> None:
        for queue in self._layout.queues:
            broker.consume(queue)

    def tick(self, broker: Broker, *, is_idle: bool) -> None:
        if not is_idle:
            return
        wanted = self._draining.get() - {self._layout}
        for layout in wanted - self._extra:
            layout.declare(broker)
            for queue in layout.queues:
                broker.consume(queue)
        for layout in self._extra - wanted:
            for queue in layout.queues:
                broker.leave(queue)
        self._extra = wanted
        if time.monotonic() > self._next:
            self._next = self._later()
            self._rebalance(broker)

    def deliver(self, broker: Broker, batch: Sequence[Received]) -> Sequence[Received]:
        self._active.update(each.queue for each in batch)
        return [each for each in batch if MARKER not in each.headers]

    def done(self, broker: Broker, batch: Sequence[Received]) -> None:
        """Answer markers: whatever stood before them has been taken by the publishers."""
        answers = [
            # Nobody takes the answer if who asked has died: its successor asks again.
            Outgoing(str(each.headers[REPLY_TO]), "", headers={MARKER: each.queue}, mandatory=False)
            for each in batch
            if MARKER in each.headers
        ]
        if answers:
            broker.publish(answers)

    def _rebalance(self, broker: Broker) -> None:
        """Leave what is more than a fair share to the next in line, and stand at its end."""
        queues = self._layout.queues
        agents = broker.declare_queue(queues[0], durable=True, arguments=SINGLE).consumers
        fair = math.ceil(len(queues) / max(agents, 1))
        mine = sorted(self._active & set(queues))
        for queue in mine[: max(len(mine) - fair, 0)]:
            broker.leave(queue)
            broker.consume(queue)
            self._active.discard(queue)

    def _later(self) -> float:
        return time.monotonic() + self._rebalance_s * random.uniform(0.8, 1.2)
