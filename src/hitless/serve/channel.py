"""Messages between the supervisor, its templates and its workers.

A channel is one end of a `SOCK_SEQPACKET` pair: one JSON object per packet, file descriptors beside it by `SCM_RIGHTS`.
The kernel keeps packets whole and in order, so there is no framing to get wrong. End of file means that the other process is
gone (whatever it was doing when it died), which is why nobody here ever polls a pid.

Both ends are held by one process each and are close-on-exec: a copy that leaked into a third process would hide a death.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

PACKET_BYTES: Final = 160 * 1024
"""Largest packet: below the default socket buffer (208 KiB), so that one packet always fits."""

DETAIL_CHARS: Final = 32 * 1024
"""Longest detail (a traceback) that travels; longer ones keep their end, where the cause stands."""

MESSAGE_CHARS: Final = 2000
"""Longest message that travels."""

PACKET_DESCRIPTORS: Final = 250
"""The kernel takes 253 descriptors a packet (SCM_MAX_FD)."""


_FOR_NOW: Final = frozenset({errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM})
"""What the kernel says when it has no room at this moment: above all, too many descriptors in flight."""

_AGAIN_S: Final = 0.05


class ChannelClosed(Exception):
    """The process at the other end is gone."""


class MessageTooLong(ValueError):
    """It does not fit into a packet. Nothing of it was sent, and the channel goes on."""


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived: its kind, its fields, and the descriptors that the receiver now owns."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    fds: tuple[int, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, both close-on-exec and non-blocking."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def clip(text: str) -> str:
    """The end of `text` that fits into a message."""
    clipped = text if len(text) <= DETAIL_CHARS else "…" + text[-DETAIL_CHARS:]
    while len(json.dumps(clipped)) > PACKET_BYTES * 3 // 4:  # up to twelve bytes stand for one character
        clipped = "…" + clipped[-(len(clipped) // 2) :]
    return clipped


def fitting(items: Iterable[Any]) -> list[Any]:
    """As many of the first of these as fit into one message beside the other things that it says."""
    fit, room = [], PACKET_BYTES * 3 // 4
    for item in items:
        room -= len(json.dumps(item)) + 1
        if room < 0:
            break
        fit.append(item)
    return fit


def encode(kind: str, fields: dict[str, Any]) -> bytes:
    """Raises MessageTooLong."""
    packet = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
    if len(packet) > PACKET_BYTES:
        raise MessageTooLong(f"a message {kind} of {len(packet)} bytes; {PACKET_BYTES} fit into a packet")
    return packet


def decode(packet: bytes, fds: Sequence[int]) -> Message:
    fields = json.loads(packet)
    return Message(fields.pop("kind"), fields, tuple(fds))


def send(sock: socket.socket, kind: str, fds: Sequence[int] = (), **fields: Any) -> None:
    """Sends one message from a blocking end.

    Raises:
        ChannelClosed: nobody holds the other end any more.
    """
    try:
        socket.send_fds(sock, [encode(kind, fields)], list(fds))
    except (BrokenPipeError, ConnectionResetError) as error:
        raise ChannelClosed(str(error)) from error


def receive_packet(sock: socket.socket, size: int, *, descriptors: int) -> tuple[bytes, list[int]]:
    """As `socket.recv_fds`, which ignores its flags: here no descriptor is inherited by what the application executes."""
    fds = array("i")
    packet, ancillary, _flags, _address = sock.recvmsg(
        size, socket.CMSG_LEN(descriptors * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return packet, list(fds)


def receive(sock: socket.socket) -> Message:
    """The next message of `sock`.

    Raises:
        ChannelClosed: the other process is gone and everything it said has been read.
        BlockingIOError: nothing there, on a non-blocking end.
    """
    while True:
        try:
            packet, fds = receive_packet(sock, PACKET_BYTES, descriptors=PACKET_DESCRIPTORS)
        except ConnectionResetError:
            # A peer that closed with packets of ours unread reports the reset first; what it had sent is still queued.
            continue
        if not packet:
            raise ChannelClosed("the process at the other end is gone")
        return decode(packet, fds)


class AsyncChannel:
    """A channel served by an event loop: messages arrive at `on_message`, death at `on_closed` (once)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        on_message: Callable[[Message], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._loop: Final = loop
        self._sock: Final = sock
        self._on_message: Final = on_message
        self._on_closed: Final = on_closed
        self._waiting: deque[_Outgoing] = deque()
        self._open = True
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._readable)

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def fd(self) -> int:
        """The descriptor of this end."""
        return self._sock.fileno()

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was said here has left."""
        return not self._waiting

    def send(
        self, kind: str, fds: Sequence[int] = (), *, keep: Sequence[socket.socket] = (), **fields: Any
    ) -> None:
        """Sends, or queues behind what still waits for a slow reader. `keep` are sockets to be closed once sent.

        A message to a process that is gone is dropped: its death is reported by `on_closed`.

        Raises:
            MessageTooLong: the message, or the number of its descriptors; `keep` are closed.
        """
        if len(fds) > PACKET_DESCRIPTORS:
            _Outgoing(b"", [], list(keep)).close()
            raise MessageTooLong(f"a message {kind} with {len(fds)} descriptors; {PACKET_DESCRIPTORS} fit")
        try:
            packet = encode(kind, fields)
        except MessageTooLong:
            _Outgoing(b"", [], list(keep)).close()
            raise
        message = _Outgoing(packet, list(fds), list(keep))
        if not self._open:
            message.close()
            return
        self._waiting.append(message)
        if len(self._waiting) == 1:
            self._flush()
        if self._waiting:
            message.own()

    def read_rest(self) -> None:
        """Reads what the process still said before it died, now; then `on_closed`."""
        self._readable()

    def close(self) -> None:
        """Stops listening without reporting a death."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            for message in self._waiting:
                message.close()
            self._waiting.clear()

    def _flush(self) -> None:
        while self._waiting and self._open:
            message = self._waiting[0]
            try:
                socket.send_fds(self._sock, [message.packet], message.fds)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._writable)
                return
            except (BrokenPipeError, ConnectionResetError):
                pass  # the reader sees the end of file, after whatever the process still said
            except OSError as error:
                if error.errno not in _FOR_NOW:
                    self._waiting.popleft().close()  # what follows it is not to wait for ever
                    raise
                self._loop.call_later(_AGAIN_S, self._flush)
                return
            self._waiting.popleft()
            message.close()

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock.fileno())
        self._flush()

    def _readable(self) -> None:
        while self._open:
            try:
                message = receive(self._sock)
            except BlockingIOError:
                return
            except ChannelClosed:
                self.close()
                self._on_closed()
                return
            self._on_message(message)


@dataclass(slots=True)
class _Outgoing:
    """A message that is not sent yet."""

    packet: bytes
    fds: list[int]
    kept: list[socket.socket]
    duplicates: list[int] = field(default_factory=list)

    def own(self) -> None:
        """It has to wait: the sender may close its descriptors meanwhile, and others get their numbers."""
        if not self.kept:
            self.fds = self.duplicates = [os.dup(fd) for fd in self.fds]

    def close(self) -> None:
        for sock in self.kept:
            sock.close()
        for fd in self.duplicates:
            os.close(fd)
