"""`[notifications]` of `agent.toml` as it is written, and the listeners that it makes."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from hitless.agent.definition import Value
from hitless.agent.notifications.path import Path, PathError
from hitless.change import digest
from hitless.config import Seconds, shown

SCHEMES: Final = ("amqp", "amqps", "rabbit", "filesystem")
BROKERS: Final = ("amqp", "amqps", "rabbit")
"""Those that are servers; `rabbit` is what oslo.messaging calls amqp."""
EXCHANGES: Final = (
    *("nova", "glance", "neutron", "cinder", "heat", "keystone", "trove", "zaqar", "swift", "ceilometer"),
    *("magnum", "dns", "ironic", "aodh"),
)
"""Ceilometer's `notification_control_exchanges`."""
KEYS: Final = (
    *("payload.resource_id", "payload.instance_id", "payload.volume_id", "payload.snapshot_id"),
    *("payload.share_id", "payload.backup_id", "payload.id", "payload.target.id", "publisher_id"),
)


def valid_url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if scheme not in SCHEMES or not separator:
        raise ValueError(
            f"expected a URL that begins with one of {', '.join(f'{each}://' for each in SCHEMES)}"
        )
    if scheme in BROKERS:
        for host in rest.partition("/")[0].split(","):
            if not urlsplit(f"//{host}").hostname:
                raise ValueError("expected a host, as in amqp://user:password@host:5672/vhost")
    if scheme == "filesystem" and not rest.startswith("/"):
        raise ValueError("expected a folder, as in filesystem:///var/spool/hitless")
    return text


def _path(text: str) -> str:
    try:
        Path(text)
    except PathError as error:
        raise ValueError(str(error)) from None
    return text


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Positive = Annotated[Seconds, Field(gt=0)]


class Shards(Value):
    """Messages in order for each resource: by its hash into queues, each of which one agent at a time takes from."""

    count: Annotated[int, Field(ge=1, le=1024)]
    """How many queues."""
    name: Name = "hitless"
    """Of the queues and exchanges; the same for all agents that share the work."""
    keys: Annotated[tuple[Annotated[str, AfterValidator(_path)], ...], Field(min_length=1)] = KEYS
    """Paths; the first that finds something says to which resource a message belongs."""
    exchange: Literal["direct", "x-consistent-hash"] = "direct"
    """By SHA-256 modulo `count`; or by RabbitMQ's plug-in of this name."""
    rebalance: Positive = 30.0
    """How often an agent that takes from more than its share of the queues leaves some to the others."""


class Listening(Value):
    """What all listeners have in common."""

    exchanges: Names = EXCHANGES
    topics: Names = ("notifications",)
    priorities: Names = ("info", "error", "sample")
    durable: bool = False
    """Whether exchanges and queues outlive a broker's restart; as the senders have it (`amqp_durable_queues`)."""
    queue_type: Literal["classic", "quorum"] = "classic"
    prefetch: Annotated[int, Field(ge=1, le=65535)] = 200
    """How many messages of one queue are here without having been acknowledged, at most."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How many messages are published together, at most."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """How often a message that an endpoint does not understand is tried before it is put aside."""
    endpoint_timeout: Positive = 60.0
    """After so many seconds in an endpoint a message is put aside, and the endpoint's thread is left to itself."""
    dead_letter: Name = "hitless.dead-letter"
    """The queue of messages that are put aside."""
    heartbeat: Annotated[Seconds, Field(ge=1)] = 15.0
    """Seconds without a sign from the broker after half of which one is sent; after all of them the connection counts as lost."""
    connect_timeout: Positive = 10.0
    reconnect_first: Positive = 0.5
    reconnect_longest: Positive = 30.0
    """Waits between attempts to connect double from the first to the longest."""
    must_connect: bool = True
    """Whether a change is refused, and the agent does not start, if the broker cannot be reached."""
    finish_timeout: Annotated[Seconds, Field(gt=0, le=50)] = 30.0
    """How long a listener that is replaced has for the batch in hand; after it, the broker gives the batch to the next one."""
    shards: Shards | None = None

    @model_validator(mode="after")
    def _quorum_is_durable(self) -> Self:
        if self.queue_type == "quorum" and not self.durable:
            raise ValueError("quorum queues are durable; say durable = true")
        return self


class ListenerSpec(Listening):
    """One broker."""

    url: Annotated[str, AfterValidator(valid_url)] = Field(repr=False)

    @model_validator(mode="after")
    def _shards_need_a_server(self) -> Self:
        if self.shards is not None and self.scheme not in BROKERS:
            raise ValueError(f"shards need RabbitMQ, and {self.scheme}:// is none")
        return self

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def queues(self) -> tuple[str, ...]:
        """As oslo.messaging names them: `TOPIC.PRIORITY`."""
        return tuple(f"{topic}.{priority}" for topic in self.topics for priority in self.priorities)

    @property
    def key(self) -> str:
        """Fit to be shown and logged, and another one for another password."""
        masked = str(shown(self.url))
        return masked if masked == self.url else f"{masked}#{digest(self.url)[:8]}"
