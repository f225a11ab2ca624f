"""One request as its handler sees it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hitless.change import JSON

CREDENTIALS: Final = struct.Struct("3i")
"""`struct ucred`: pid, uid, gid (unix(7))."""

Progress = Callable[[str, Mapping[str, JSON]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, as the kernel says it (SO_PEERCRED, at the time of its connect)."""

    pid: int
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"uid {self.uid} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    params: Mapping[str, JSON]
    peer: Peer
    progress: Progress
    """Tell the client how it goes; never blocks for a slow client and never fails for one that is gone."""
    disconnected: Callable[[], Awaitable[None]]
    """Returns when the client has closed its side: for handlers that go on until nobody looks any more."""


Handler = Callable[[Request], Awaitable[JSON]]


def peer_of(writer: asyncio.StreamWriter) -> Peer:
    """The other side of a connection."""
    # A socket of its own, because event loops hand out stand-ins that do not have every method; on the same descriptor,
    # because there may be none left, and then the command is to hear that.
    connection = socket.socket(fileno=writer.get_extra_info("socket").fileno())
    try:
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    finally:
        connection.detach()
    return Peer(*CREDENTIALS.unpack(found))
