"""How a load balancer is described in a configuration file; `kind` says which one it is."""

from __future__ import annotations

import shlex
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from hitless.config import Seconds

POLL_S: Final = 0.2
"""Between two looks at what is left of a drain: balancers tell nobody when a session ends."""
ANSWER_S: Final = 10.0
"""For one answer of one instance."""


def _words(value: object) -> object:
    """Text, as a shell would take it apart; no shell is started."""
    if isinstance(value, str):
        return tuple(shlex.split(value))
    return tuple(value) if isinstance(value, list) else value


def _one_or_more(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words), Field(min_length=1)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_one_or_more)]
Wait = Annotated[Seconds, Field(gt=0, le=86400)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class HAProxySettings(_Table):
    """HAProxy by its runtime API: one instance, or several that are kept in step."""

    kind: Literal["haproxy"] = "haproxy"
    instances: Annotated[Names, Field(min_length=1)] = Field(
        description="stats sockets of level admin, or master sockets: a path, unix:///path, tcp://host:port"
    )
    backends: Names = Field(
        (),
        description="backends whose servers are meant, all of them together; all of HAProxy's if not set, and then a "
        "name that stands in two of them must be written backend/server",
    )
    cut_after: Wait | None = Field(
        None, description="cut the sessions that a drain still waits for after so long; not set: never"
    )
    poll: Wait = Field(POLL_S, description="between two looks at what a drain waits for")
    answer: Wait = Field(ANSWER_S, description="for one answer of one instance")

    @field_validator("instances")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            check_address(each)
        if len(set(value)) != len(value):
            raise ValueError("an instance is named twice")
        return value


class NginxSettings(_Table):
    """nginx by a file of its upstreams, and reloads."""

    kind: Literal["nginx"]
    file: str = Field(
        pattern="^/", description="the file with the upstream's server lines, which nginx.conf includes"
    )
    pid: str = Field("/run/nginx.pid", pattern="^/", description="nginx's pid file")
    nginx: Words = Field(
        ("nginx",), description="how nginx is run, with its own options, such as [nginx, -c, /etc/nginx.conf]"
    )
    hosts: Names = Field(
        (),
        description="where the instances run, as ssh knows them, all kept in step; this machine if not set",
    )
    ssh: Words = Field(("ssh",), description="how ssh is run, for hosts")
    poll: Wait = Field(POLL_S, description="between two looks at workers that finish")
    answer: Wait = Field(ANSWER_S, description="for one command")


class CommandSettings(_Table):
    """Any balancer, by commands that are run here. {server} in them is the server's name."""

    kind: Literal["command"]
    state: Words = Field(description="prints the servers as a JSON object, by name")
    drain: Words = Field(description="no new work for {server}; need not wait for its sessions")
    ready: Words = Field(description="work for {server} again")
    maint: Words | None = Field(None, description="takes {server} out; drain if not set")
    sessions: Words | None = Field(None, description="prints the sessions of {server} as JSON")
    poll: Wait = Field(1.0, description="between two looks at what a drain waits for")
    answer: Wait = Field(30.0, description="for one command")


BalancerSettings = Annotated[HAProxySettings | NginxSettings | CommandSettings, Field(discriminator="kind")]


def check_address(text: str) -> None:
    """That it is a path or a URL of a socket.

    Raises:
        ValueError: it is neither.
    """
    if text.startswith(("/", "unix:///")):
        return
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    if not (text.startswith("tcp://") and host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r}: expected /path, unix:///path or tcp://host:port")
