"""What is known of a connection besides its bytes."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Listener:
    """The address that a connection came in by."""

    key: str
    scheme: str
    """`http` or `https`."""
    server: tuple[str, int | None]
    """Host and port, or path and None for a Unix socket."""
    ssl: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What travels with a connection that moves to another process."""

    listener: str
    """Key of its listener."""
    peer: tuple[str, int] | None
    """Address of the client; None on a Unix socket."""
    served: int
    """Requests answered so far."""
    opened: float
    """Unix time of its acceptance."""
    server: tuple[str, int | None] | None = field(default=None, compare=False)
    """Our own address of it: what decides which listener takes it where its own is gone."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "listener": self.listener,
            "peer": self.peer,
            "served": self.served,
            "opened": self.opened,
            "server": self.server,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Facts:
        """From what `as_dict` made, also when it has been through JSON."""
        peer = plain["peer"]
        return cls(
            listener=str(plain["listener"]),
            peer=None if peer is None else (str(peer[0]), int(peer[1])),
            served=int(plain["served"]),
            opened=float(plain["opened"]),
        )


class Counters:
    """What an engine has done so far; plain integers, read by whoever reports."""

    __slots__ = (
        "connections_adopted",
        "connections_opened",
        "cut",
        "handed_over",
        "lingered",
        "requests",
        "responses",
        "taken_back",
        "websockets",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.responses = [0] * 10
        """By class: `responses[2]` counts 2xx."""
        self.connections_opened = 0
        self.connections_adopted = 0
        self.handed_over = 0
        self.taken_back = 0
        self.lingered = 0
        self.cut = 0
        self.websockets = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON; responses as `responses_1xx` to `responses_5xx`."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "responses"}
        plain.update({f"responses_{kind}xx": self.responses[kind] for kind in range(1, 6)})
        return plain
