"""One connection to a broker, through kombu: RabbitMQ, or a folder in its place. Used by one thread.

Each queue is consumed on a channel of its own: closing that channel gives back, in order, what was not acknowledged, and
lets the next consumer of the queue take over, in one step. A consumer that is cancelled would leave a moment in which the next
one is given later messages before earlier ones.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from hitless.agent.notifications.spec import BROKERS, ListenerSpec

POLL_S: Final = 0.05
"""How often a folder, which tells nobody, is looked at."""
CONFIRM_S: Final = 30.0
"""For the broker to say that it has what was published."""
DRAIN_LIMIT: Final = 500
"""Frames that are handled before anything else gets its turn."""
PERSISTENT: Final = 2
KEPT: Final = ("content_type", "content_encoding", "priority", "correlation_id", "message_id", "timestamp")
"""Properties that a message keeps when it is sent on."""
NAMED: Final = ("content_type", "content_encoding", "priority")
"""Those that kombu wants apart."""


class BrokerError(Exception):
    """The broker did not take something, or is not there; the message says what."""


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    queue: str
    body: bytes | str
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    exchange: str
    routing_key: str
    redelivered: bool
    tag: Any
    channel: Any


@dataclass(frozen=True, slots=True)
class Outgoing:
    """To a queue by its name if `exchange` is empty."""

    routing_key: str
    body: bytes | str
    exchange: str = ""
    headers: Mapping[str, Any] | None = None
    properties: Mapping[str, Any] | None = None
    mandatory: bool = True
    """Whether it is an error if no queue takes it."""

    @classmethod
    def copy_of(
        cls, message: Received, routing_key: str, *, exchange: str = "", headers: Mapping[str, Any]
    ) -> Outgoing:
        kept = {key: message.properties[key] for key in KEPT if key in message.properties}
        return cls(routing_key, message.body, exchange, {**message.headers, **headers}, kept)


@dataclass(frozen=True, slots=True)
class QueueState:
    name: str
    ready: int
    consumers: int


class Broker:
    def __init__(self, spec: ListenerSpec, name: str) -> None:
        """Connect; `name` is shown by the broker. Raises BrokerError."""
        try:
            from kombu import Connection
        except ModuleNotFoundError as error:
            raise BrokerError("listeners need kombu; run: pip install 'hitless[amqp]'") from error
        self._spec: Final = spec
        self.dead_letter_queue: Final = spec.dead_letter
        self.is_server: Final = spec.scheme in BROKERS
        self._connection: Final[Any] = Connection(**_parameters(spec, name))
        self._buffer: Final[deque[Received]] = deque()
        self._channels: Final[dict[str, Any]] = {}
        self._publishing: _Publishing | None = None
        try:
            self._connection.connect()
            self.channel: Any = self._connection.channel()
        except Exception as error:
            self.close()
            raise BrokerError(
                f"cannot connect to {spec.key}: {type(error).__name__}: {error or 'no reason was given'}"
            ) from error

    def declare_exchange(self, name: str, kind: str, *, durable: bool) -> None:
        self.channel.exchange_declare(exchange=name, type=kind, durable=durable, auto_delete=False)

    def declare_queue(
        self,
        name: str,
        *,
        durable: bool,
        arguments: Mapping[str, Any] | None = None,
        exclusive: bool = False,
        passive: bool = False,
    ) -> QueueState:
        """Raises whatever kombu does when the queue is there with other arguments."""
        found = self.channel.queue_declare(
            queue=name,
            durable=durable,
            exclusive=exclusive,
            auto_delete=exclusive,
            passive=passive,
            arguments=dict(arguments or {}) or None,
        )
        return QueueState(found.queue, found.message_count or 0, found.consumer_count or 0)

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        self.channel.queue_bind(queue=queue, exchange=exchange, routing_key=routing_key)

    def delete_if_idle(self, queue: str) -> None:
        """Unless there is something in it, or somebody takes from it."""
        channel = self._connection.channel()  # one of its own: a refusal closes the channel
        with suppress(*self._connection.channel_errors):
            channel.queue_delete(queue=queue, if_unused=True, if_empty=True)
            channel.close()

    # Taking

    def consume(self, queue: str, *, no_ack: bool = False) -> None:
        channel = self._connection.channel()
        channel.basic_qos(0, self._spec.prefetch, False)
        self._channels[queue] = channel

        def received(message: Any) -> None:
            self._buffer.append(_received(message, queue, channel))

        channel.basic_consume(queue=queue, no_ack=no_ack, callback=received, consumer_tag=f"hitless.{queue}")

    def leave(self, queue: str) -> None:
        """Take no more from this queue, and give back what was not acknowledged."""
        channel = self._channels.pop(queue)
        channel.close()
        kept = [each for each in self._buffer if each.queue != queue]
        self._buffer.clear()
        self._buffer.extend(kept)

    @property
    def consumed(self) -> tuple[str, ...]:
        return tuple(self._channels)

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def take(self, count: int) -> list[Received]:
        """Of what has arrived, the oldest, at most so many."""
        return [self._buffer.popleft() for _ in range(min(count, len(self._buffer)))]

    def ack(self, messages: Sequence[Received]) -> None:
        """These and, of the same queues, everything that was received before them."""
        if not self.is_server:
            for each in messages:
                each.channel.basic_ack(each.tag)
            return
        for last in {each.queue: each for each in messages}.values():
            last.channel.basic_ack(last.tag, multiple=True)

    # Sending

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Return when the broker has all of them. Raises BrokerError, or what kombu does when the connection is lost."""
        if self._publishing is None:
            self._publishing = _Publishing(self._connection, confirm=self.is_server)
        self._publishing.send(messages)

    # Waiting

    def wait(self, timeout_s: float, wake: int) -> None:
        """Until something has arrived, `wake` (a file descriptor) can be read, or the time is over."""
        if not self.is_server:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=min(timeout_s, POLL_S))
            self._drain()
            return
        sock = self._connection.connection.sock
        pending = getattr(sock, "pending", None)
        if pending is None or not pending():
            poll = select.poll()
            poll.register(sock.fileno(), select.POLLIN)
            poll.register(wake, select.POLLIN)
            poll.poll(timeout_s * 1000)
        self._drain()
        self._connection.heartbeat_check(rate=2)

    def _drain(self) -> None:
        with suppress(TimeoutError):
            for _ in range(DRAIN_LIMIT):
                self._connection.drain_events(timeout=0)

    def close(self) -> None:
        """What was not acknowledged goes back to where it was."""
        with suppress(Exception):
            self._connection.release()


class _Publishing:
    """A channel whose messages the broker confirms."""

    def __init__(self, connection: Any, *, confirm: bool) -> None:
        self._connection: Final = connection
        self._channel: Final = connection.channel()
        self._confirm: Final = confirm
        self._sent = 0
        self._open: Final[set[int]] = set()
        self._refusal = ""
        if confirm:
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._acked)
            self._channel.events["basic_nack"].add(self._nacked)
            self._channel.events["basic_return"].add(self._returned)

    def send(self, messages: Sequence[Outgoing]) -> None:
        for each in messages:
            properties = {**(each.properties or {}), "delivery_mode": PERSISTENT}
            named = {key: properties.pop(key) for key in NAMED if properties.get(key) is not None}
            body = each.body.encode() if isinstance(each.body, str) else each.body
            message = self._channel.prepare_message(
                body, headers=dict(each.headers or {}), properties=properties, **named
            )
            extra = {"mandatory": each.mandatory} if self._confirm else {}
            self._channel.basic_publish(
                message, exchange=each.exchange, routing_key=each.routing_key, **extra
            )
            self._sent += 1
            self._open.add(self._sent)
        if self._confirm:
            self._wait()
        self._open.clear()

    def _wait(self) -> None:
        deadline = time.monotonic() + CONFIRM_S
        while self._open and not self._refusal:
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokerError(f"the broker has confirmed nothing for {CONFIRM_S:g} s")
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=left)
        if self._refusal:
            raise BrokerError(self._refusal)

    def _acked(self, tag: int, multiple: bool) -> None:
        self._open.difference_update([each for each in self._open if each <= tag] if multiple else [tag])

    def _nacked(self, _tag: int, _multiple: bool) -> None:
        self._refusal = "the broker could not store what was published"

    def _returned(
        self, error: Exception, _exchange: str, routing_key: str, _message: Any, *_: object
    ) -> None:
        self._refusal = f"nothing takes what is published to {routing_key}: {error}"


def _received(message: Any, queue: str, channel: Any) -> Received:
    properties = dict(message.properties)
    headers = properties.pop("application_headers", None) or getattr(message, "headers", None) or {}
    info = message.delivery_info
    return Received(
        queue=queue,
        body=message.body,
        headers=dict(headers),
        properties=properties,
        exchange=info.get("exchange") or "",
        routing_key=info.get("routing_key") or "",
        redelivered=bool(info.get("redelivered")),
        tag=message.delivery_tag,
        channel=channel,
    )


def _parameters(spec: ListenerSpec, name: str) -> dict[str, Any]:
    """For kombu."""
    scheme, _, rest = spec.url.partition("://")
    if scheme == "filesystem":
        return {"transport": "hitless.agent.notifications.folder:Transport", "hostname": unquote(rest)}
    hosts, slash, path = rest.partition("/")
    # oslo.messaging's `host1,host2/vhost` is kombu's `url1;url2`; without a path both mean the virtual host `/`.
    vhost = quote(unquote(path), safe="?=&") if slash and path else "%2F"
    kind = "amqps" if scheme == "amqps" else "amqp"
    urls = [f"{kind}://{host}/{vhost}" for host in hosts.split(",")]
    return {
        "hostname": ";".join(urls),
        "connect_timeout": spec.connect_timeout,
        "heartbeat": spec.heartbeat,
        "transport_options": {
            "client_properties": {"connection_name": f"{name} pid {os.getpid()}", "product": "hitless"},
            "read_timeout": max(spec.heartbeat, spec.connect_timeout),
            "write_timeout": max(spec.heartbeat, spec.connect_timeout),
            # Not endlessly: who waits for it decides how often it is tried again.
            "max_retries": 1,
        },
    }


def declare_intake(broker: Broker, spec: ListenerSpec) -> tuple[str, ...]:
    """What oslo.messaging's senders and listeners make as well: a queue for each priority, bound to each exchange."""
    arguments = {"x-queue-type": "quorum"} if spec.queue_type == "quorum" else None
    for exchange in spec.exchanges:
        broker.declare_exchange(exchange, "topic", durable=spec.durable)
    for queue in spec.queues:
        broker.declare_queue(queue, durable=spec.durable, arguments=arguments)
        for exchange in spec.exchanges:
            broker.bind(queue, exchange, queue)
    broker.declare_queue(spec.dead_letter, durable=True)
    return spec.queues
