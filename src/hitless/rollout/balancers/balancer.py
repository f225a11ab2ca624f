"""What a rollout asks of a load balancer, and what it is told of a server there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hitless.change import Deadline

Status = Literal["ready", "drain", "maint"]
"""What the operator wants of a server: work, no new work, or nothing at all (not even checks)."""


@dataclass(frozen=True, slots=True)
class InstanceState:
    """What one instance of the balancer says of a server."""

    status: Status
    up: bool
    sessions: int
    """Requests or connections that the server works on now, of this instance."""
    queued: int
    """Requests that wait for the server."""
    detail: str = ""
    """The instance's own words, such as `UP 1/3` or `DRAIN`."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What all instances of the balancer agree on; sessions and queue are sums."""

    name: str
    status: Status
    up: bool
    """Whether every instance takes it for alive. A server that was just made ready counts as up before any check:
    probe it directly first."""
    sessions: int
    queued: int
    instances: Mapping[str, InstanceState] = field(default_factory=dict)
    """By the instance's name."""

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do and nothing waits for it."""
        return not self.sessions and not self.queued


@dataclass(frozen=True, slots=True)
class Session:
    """One piece of work that a server has."""

    client: str
    """Its address, or what the balancer calls it."""
    age_s: float
    instance: str = ""

    def __str__(self) -> str:
        return f"{self.client} for {self.age_s:.0f} s"


class Balancer(Protocol):
    """A load balancer of one or more instances that are kept in step: a change is made on all of them or taken back.

    Every method raises BalancerError (see `errors`), and DeadlinePassed when the balancer does not answer in time.
    All of them may be repeated: what is so already is no error.
    """

    async def servers(self, deadline: Deadline) -> Mapping[str, ServerState]:
        """Every server by name.

        Raises:
            InstancesDiffer: the instances do not say the same; the message says which differ.
        """

    async def drain(self, server: str, deadline: Deadline) -> None:
        """Send no new work to the server, and return when sessions and queue are 0 on all instances.

        Raises:
            DrainLate: they are not when the deadline passes. The server stays draining.
        """

    async def maint(self, server: str, deadline: Deadline) -> None:
        """Take the server out altogether. Sessions that it still has are not cut."""

    async def ready(self, server: str, deadline: Deadline) -> None:
        """Send work to it again, and return when every instance takes it for alive. It gets work at once, before any
        check of the balancer's: probe it directly first."""

    async def sessions(self, server: str, deadline: Deadline) -> tuple[Session, ...]:
        """What the server works on, the oldest first; empty where the balancer cannot tell."""

    async def aclose(self) -> None:
        """Give back what it holds."""
