"""`amqp://user:password@host:5672/vhost?exchange=ceilometer&topic=notifications`, `amqps://…`: batches as notifications.

Samples go as Ceilometer's polling agents send them: a notification `telemetry.polling` of priority SAMPLE whose payload holds a
list of samples, in the envelope of oslo.messaging. A Ceilometer notification agent takes them, and so does a listener of this
agent. The broker must confirm that it has each batch.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from hitless.agent.event import Event
from hitless.agent.publishers.failures import Unreachable
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample
from hitless.change import JSON
from hitless.config import Seconds

ENVELOPE_VERSION: Final = "2.0"
PRIORITY: Final = "sample"
SAMPLES_TYPE: Final = "telemetry.polling"
EVENTS_TYPE: Final = "event"


class AmqpOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: Annotated[str, Field(min_length=1)] = "ceilometer"
    topic: Annotated[str, Field(min_length=1)] = "notifications"
    """The queue is `TOPIC.sample`; it is made if it is not there, so that what is sent before anybody listens is kept."""
    durable: bool = False
    """As the other senders and the listeners have it (`amqp_durable_queues`)."""
    timeout: Annotated[Seconds, Field(gt=0)] = 10.0
    """To connect, and for the broker's confirmation."""
    ca: str | None = None
    """Path of the authorities' certificates, for amqps."""


class AmqpPublisher:
    def __init__(self, url: PublisherUrl) -> None:
        """Raises ValueError: the URL or an option is wrong, or kombu is not installed."""
        if not url.host:
            raise ValueError("expected a host, as amqp://user:password@127.0.0.1:5672/")
        self._options: Final = url.options(AmqpOptions)
        if self._options.ca is not None and url.scheme != "amqps":
            raise ValueError("the option ca is for amqps://")
        if "kombu" not in sys.modules and find_spec("kombu") is None:
            raise ValueError("AMQP needs kombu; run: pip install 'hitless[amqp]'")
        self._url: Final = url.text.partition("?")[0]
        self._is_tls: Final = url.scheme == "amqps"
        self._connection: Any = None
        self._producer: Any = None

    def open(self) -> None:
        """Connects with the first batch: a broker that is down now may be there then."""

    def publish(self, samples: Sequence[Sample]) -> None:
        listed: list[JSON] = [_sample(each) for each in samples]
        self._send(SAMPLES_TYPE, {"samples": listed})

    def publish_events(self, events: Sequence[Event]) -> None:
        self._send(EVENTS_TYPE, [each.to_json() for each in events])

    def reach(self) -> None:
        from kombu import Connection

        with Connection(self._url, **self._how()) as connection:
            connection.connect()

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except _troubles(connection):
                connection.collect()

    def _send(self, event_type: str, payload: JSON) -> None:
        from kombu import Connection  # only who sends over AMQP needs it

        if self._connection is None:
            self._connection = Connection(self._url, **self._how())
        try:
            if self._producer is None:
                self._connection.connect()
                self._declare()
                self._producer = self._connection.Producer(exchange=self._exchange())
            self._producer.publish(
                envelope(event_type, payload),
                routing_key=f"{self._options.topic}.{PRIORITY}",
                serializer="json",
                mandatory=True,  # confirmed alone would say nothing of a queue that somebody has deleted
                delivery_mode=2 if self._options.durable else 1,
                retry=False,
                timeout=self._options.timeout,
                confirm_timeout=self._options.timeout,
            )
        except _troubles(self._connection) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error or 'no reason was given'}") from error

    def _declare(self) -> None:
        """The exchange, and the queue if it is not there: one that is there may have limits and policies of its own."""
        channel = self._connection.channel()
        try:
            self._queue()(channel).queue_declare(passive=True)
        except self._connection.channel_errors:
            channel = self._connection.channel()
            self._queue()(channel).declare()
            return
        self._exchange()(channel).declare()
        self._queue()(channel).queue_bind()

    def _how(self) -> dict[str, Any]:
        seconds = self._options.timeout
        # No heartbeats: nobody would answer them between batches. A connection that has died is noticed by the next confirmation.
        options = {"confirm_publish": True, "read_timeout": seconds, "write_timeout": seconds}
        how: dict[str, Any] = {"connect_timeout": seconds, "heartbeat": 0, "transport_options": options}
        if self._is_tls:
            how["ssl"] = {"ca_certs": self._options.ca, "cert_reqs": ssl.CERT_REQUIRED}
        return how

    def _exchange(self) -> Any:
        from kombu import Exchange

        return Exchange(
            self._options.exchange, type="topic", durable=self._options.durable, auto_delete=False
        )

    def _queue(self) -> Any:
        from kombu import Queue

        name = f"{self._options.topic}.{PRIORITY}"
        return Queue(
            name,
            exchange=self._exchange(),
            routing_key=name,
            durable=self._options.durable,
            auto_delete=False,
        )


def envelope(event_type: str, payload: JSON) -> dict[str, JSON]:
    """The notification as oslo.messaging writes it."""
    message: JSON = {
        "message_id": str(uuid.uuid4()),
        "publisher_id": f"hitless.agent.{socket.gethostname()}",
        "event_type": event_type,
        "priority": PRIORITY.upper(),
        "payload": payload,
        "timestamp": str(datetime.now(UTC).replace(tzinfo=None)),
        "_unique_id": uuid.uuid4().hex,
    }
    return {"oslo.version": ENVELOPE_VERSION, "oslo.message": json.dumps(message)}


def _sample(sample: Sample) -> JSON:
    """With every key that Ceilometer looks at."""
    return {
        "user_id": None,
        "project_id": None,
        **sample.to_json(),
        "message_id": str(uuid.uuid4()),
        "monotonic_time": sample.monotonic,
    }


def _troubles(connection: Any) -> tuple[type[BaseException], ...]:
    from amqp.exceptions import MessageNacked
    from kombu.exceptions import KombuError

    return (OSError, KombuError, MessageNacked, *connection.connection_errors, *connection.channel_errors)
