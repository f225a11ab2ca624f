"""Notices over AMQP, in the format of OpenStack's notifications: what listens to those of Cinder or Nova takes these too.

https://docs.openstack.org/oslo.messaging/latest/reference/notifier.html : envelope 2.0, exchange of type topic, one queue
`TOPIC.PRIORITY` that is made by the sender too, so that what is sent before anybody listens is kept.
"""

from __future__ import annotations

import json
import socket
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from hitless.change import JSON
from hitless.notify.notice import Notice, Phase
from hitless.notify.sink import SEVERAL, Retries, SinkFailed

ENVELOPE_VERSION: Final = "2.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmqpSink:
    """A connection for each notice: changes are rare, and one that is kept open is dead when it is needed.

    The broker must confirm that it has the message. `durable` must be as the other senders have it (`amqp_durable_queues`).
    """

    url: str | SecretStr = field(repr=False)
    """`amqp://user:password@host:5672/vhost`; shown without its password."""
    publisher_id: str = ""
    """`SERVICE.HOST` if empty."""
    exchange: str = "openstack"
    topic: str = "notifications"
    durable: bool = False
    timeout_s: float = 10.0
    """To connect, and for each answer of the broker."""
    retries: Retries = SEVERAL

    def __post_init__(self) -> None:
        if urlsplit(self._url).scheme not in ("amqp", "amqps"):
            raise ValueError("expected a URL such as amqp://user:password@host:5672/vhost")
        if "kombu" not in sys.modules and find_spec("kombu") is None:
            raise ModuleNotFoundError("AMQP needs kombu; run: pip install 'hitless[amqp]'")

    @property
    def name(self) -> str:
        parts = urlsplit(self._url)
        return f"amqp {parts.hostname}" + (f":{parts.port}" if parts.port else "")

    @property
    def _url(self) -> str:
        return self.url.get_secret_value() if isinstance(self.url, SecretStr) else self.url

    def send(self, notice: Notice) -> None:
        from kombu import Connection  # only who sends over AMQP needs it: hitless[amqp]
        from kombu.exceptions import KombuError

        options = {"confirm_publish": True, "read_timeout": self.timeout_s, "write_timeout": self.timeout_s}
        connection = Connection(self._url, connect_timeout=self.timeout_s, transport_options=options)
        troubles = (OSError, KombuError, *connection.connection_errors, *connection.channel_errors)
        try:
            connection.connect()
            self._publish(connection, notice)
        except troubles as error:
            raise SinkFailed(f"{type(error).__name__}: {error or 'no reason was given'}") from None
        finally:
            _close(connection, troubles)

    def _publish(self, connection: Any, notice: Notice) -> None:
        from kombu import Exchange, Queue

        topic = f"{self.topic}.{_priority(notice).lower()}"
        exchange = Exchange(self.exchange, type="topic", durable=self.durable, auto_delete=False)
        queue = Queue(topic, exchange=exchange, routing_key=topic, durable=self.durable, auto_delete=False)
        connection.Producer(exchange=exchange).publish(
            envelope(notice, self.publisher_id),
            routing_key=topic,
            declare=[queue],
            serializer="json",
            delivery_mode=2 if self.durable else 1,
            retry=False,
            timeout=self.timeout_s,
        )


def envelope(notice: Notice, publisher_id: str = "") -> dict[str, JSON]:
    """The message as oslo.messaging writes it."""
    at = datetime.fromtimestamp(notice.at, UTC).replace(tzinfo=None)
    message = {
        "message_id": notice.id,
        "publisher_id": publisher_id or f"{notice.service}.{notice.host or socket.gethostname()}",
        "event_type": notice.event_type,
        "priority": _priority(notice),
        "payload": notice.to_json(),
        "timestamp": str(at),
        "_unique_id": uuid.uuid4().hex,
    }
    return {"oslo.version": ENVELOPE_VERSION, "oslo.message": json.dumps(message)}


def _priority(notice: Notice) -> str:
    return "ERROR" if notice.phase is Phase.ERROR else "INFO"


def _close(connection: Any, troubles: tuple[type[BaseException], ...]) -> None:
    try:
        connection.release()
    except troubles:
        connection.collect()
