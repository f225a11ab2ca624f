"""`[[notify]]`: who is told when a change begins and how it ended. The sinks themselves are those of `hitless.notify`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from hitless.config.secret import Secret
from hitless.config.units import Seconds
from hitless.serve.section import Section

Attempts = Annotated[int, Field(ge=1, le=100)]


def _web(url: SecretStr) -> SecretStr:
    from hitless.config.posting import checked_url  # here: most services tell nobody

    checked_url(url.get_secret_value())
    return url


def _amqp(url: SecretStr) -> SecretStr:
    from hitless.notify import AmqpSink

    try:
        AmqpSink(url=url)
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from None
    return url


class Command(Section):
    """JSON on the standard input of a command, one run for each notice."""

    kind: Literal["command"]
    command: tuple[str, ...] = Field(min_length=1)
    timeout: Seconds = Field(10.0, gt=0)
    attempts: Attempts = 1


class Webhook(Section):
    """A POST of JSON."""

    kind: Literal["webhook"]
    url: Annotated[Secret, AfterValidator(_web)]
    headers: dict[str, Secret] = Field(default_factory=dict)
    timeout: Seconds = Field(5.0, gt=0)
    attempts: Attempts = 5


class Amqp(Section):
    """A notification of oslo.messaging."""

    kind: Literal["amqp"]
    url: Annotated[Secret, AfterValidator(_amqp)]
    publisher_id: str = ""
    exchange: str = "openstack"
    topic: str = "notifications"
    durable: bool = False
    timeout: Seconds = Field(10.0, gt=0)
    attempts: Attempts = 5


SinkSettings = Annotated[Command | Webhook | Amqp, Field(discriminator="kind")]
