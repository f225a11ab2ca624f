"""Hands idle connections from one worker to another, so that their clients notice nothing.

One `SOCK_SEQPACKET` pair joins a giver and a taker. The protocol has one rule: **the taker acknowledges before it reads its first
byte**. From that follows who owns a connection at each moment, whoever dies:

1. The giver stops reading and sends the descriptor with what it has learnt of the peer. Both processes now hold the socket,
   and nobody reads it; bytes that arrive wait in the kernel.
2. The taker acknowledges, then serves it. The giver closes its copy on the acknowledgement, which sends nothing to
   the client, because the taker still holds the socket.
3. The taker may refuse (it does not listen on that address any more): the giver takes the connection back.
4. End of file at the giver without an acknowledgement before it: the taker died without having read. The giver owns
   the connection still, and offers it to another taker, or takes it back.
   (A taker that dies *after* acknowledging loses the connection as it loses all others it has.)

The giver waits for an acknowledgement as long as the taker lives: giving up earlier could leave two owners.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from hitless.serve.channel import receive_packet

WINDOW: Final = 64
"""Connections under way to one taker at a time: far below the socket buffer and the limit on descriptors in flight."""

_ANSWER: Final = struct.Struct("!QB")
_PACKET_BYTES: Final = 8192
_TAKEN: Final = 1
_REFUSED: Final = 0


class Giveable(Protocol):
    """A connection that may be handed over; see `hitless.serve.http.Connection`."""

    def release(self) -> tuple[int, Any]: ...
    def forget(self) -> None: ...
    def keep(self) -> None: ...


class Giver:
    """Gives connections to the takers that it knows, in turn. `describe(facts)` makes the facts JSON-able."""

    def __init__(self, loop: asyncio.AbstractEventLoop, describe: Callable[[Any], dict[str, Any]]) -> None:
        self._loop: Final = loop
        self._describe: Final = describe
        self._takers: deque[_Taker] = deque()
        self._waiting: deque[Giveable] = deque()
        self._next = 0
        self.given = 0
        self.refused = 0

    def add_taker(self, sock: socket.socket) -> None:
        """From now on connections are given to the worker at the other end of `sock`, too."""
        self._takers.append(_Taker(self, self._loop, sock))
        self._send_waiting()

    def replace_takers(self, sockets: list[socket.socket]) -> None:
        """From now on connections are given to these workers only; what is under way to the others completes."""
        for taker in self._takers:
            taker.retire()
        self._takers = deque(taker for taker in self._takers if taker.pending)
        for sock in sockets:
            self.add_taker(sock)

    @property
    def descriptors(self) -> list[int]:
        """Its ends of the pairs; -1 for those that are closed."""
        return [taker.fd for taker in self._takers]

    @property
    def has_takers(self) -> bool:
        return any(not taker.retired for taker in self._takers)

    def give(self, connection: Giveable) -> None:
        """Offers `connection`; it ends in `forget()` or in `keep()`."""
        self._waiting.append(connection)
        self._send_waiting()

    def close(self) -> None:
        """Ends the pairs. Only when nothing is under way."""
        for taker in list(self._takers):
            taker.close()
        self._takers.clear()

    def _send_waiting(self) -> None:
        while self._waiting:
            if not self.has_takers:
                self._waiting.popleft().keep()
                continue
            taker = self._free_taker()
            if taker is None:
                return
            connection = self._waiting.popleft()
            self._next += 1
            if not taker.send(self._next, connection):
                self._waiting.appendleft(connection)

    def _free_taker(self) -> _Taker | None:
        for _ in range(len(self._takers)):
            self._takers.rotate(-1)
            taker = self._takers[-1]
            if not taker.retired and len(taker.pending) < taker.window:
                return taker
        return None

    def answered(self, connection: Giveable, *, taken: bool) -> None:
        if taken:
            self.given += 1
            connection.forget()
        else:
            self.refused += 1
            connection.keep()
        self._send_waiting()

    def lost(self, taker: _Taker) -> None:
        """The taker is gone: what it had not acknowledged is still ours."""
        if taker in self._takers:
            self._takers.remove(taker)
        self._waiting.extendleft(reversed(taker.pending.values()))
        taker.pending.clear()
        self._send_waiting()


class _Taker:
    """The giver's end of the pair to one taker."""

    def __init__(self, giver: Giver, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._giver: Final = giver
        self._loop: Final = loop
        self._sock: Final = sock
        self.pending: dict[int, Giveable] = {}
        self.window = WINDOW
        self.retired = False
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._readable)

    @property
    def fd(self) -> int:
        return self._sock.fileno()

    def send(self, number: int, connection: Giveable) -> bool:
        """Sends `connection`; False if the pair cannot take one now."""
        fd, facts = connection.release()
        if fd < 0:
            return True  # it was closed while it waited: there is nothing to give
        packet = json.dumps([number, self._giver._describe(facts)], separators=(",", ":")).encode()
        try:
            socket.send_fds(self._sock, [packet], [fd])
        except OSError:
            # Full, too many descriptors in flight, or closed: what is under way, or the end of file, will wake us.
            if not self.pending:
                self._loop.call_soon(self._gone)
                self.retired = True
            self.window = len(self.pending)
            return False
        self.pending[number] = connection
        return True

    def retire(self) -> None:
        self.retired = True
        if not self.pending:
            self.close()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _gone(self) -> None:
        self.retired = True
        self.close()
        self._giver.lost(self)

    def _readable(self) -> None:
        while self._sock.fileno() >= 0:
            try:
                packet = self._sock.recv(_PACKET_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # reported before what is still queued; see hitless.serve.channel.receive
            if not packet:
                self._gone()
                return
            self.window = WINDOW
            for number, answer in _ANSWER.iter_unpack(packet):
                self._giver.answered(self.pending.pop(number), taken=answer == _TAKEN)
            if self.retired and not self.pending:
                self.close()


class Taker:
    """The taker's end of the pair to one giver.

    `may_take(facts)` decides; `adopt(connection, facts)` gets the connections after they were acknowledged.
    """

    BATCH: Final = 64

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        may_take: Callable[[dict[str, Any]], bool],
        adopt: Callable[[socket.socket, dict[str, Any]], None],
        on_closed: Callable[[Taker], None],
    ) -> None:
        self._loop: Final = loop
        self._sock: Final = sock
        self._may_take: Final = may_take
        self._adopt: Final = adopt
        self._on_closed: Final = on_closed
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._readable)

    @property
    def fd(self) -> int:
        """Its descriptor; -1 when it is closed."""
        return self._sock.fileno()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        for _ in range(self.BATCH):
            if self._sock.fileno() < 0:
                return
            try:
                packet, fds = receive_packet(self._sock, _PACKET_BYTES, descriptors=4)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue
            if not packet:
                self.close()
                self._on_closed(self)
                return
            self._received(packet, fds)

    def _received(self, packet: bytes, fds: list[int]) -> None:
        number, facts = json.loads(packet)
        # No descriptor arrives when this process has run out of them (MSG_CTRUNC): refuse, the giver still has it.
        taken = bool(fds) and self._may_take(facts)
        try:
            self._sock.send(_ANSWER.pack(number, _TAKEN if taken else _REFUSED))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the giver is gone, and its copy with it: ours is now the only one
        except OSError:
            # Cannot happen within the window; were it to, the end of file says "not taken" as well as a refusal does.
            taken = False
            self.close()
            self._on_closed(self)
        if taken:
            self._adopt(socket.socket(fileno=fds[0]), facts)
        else:
            for fd in fds:
                os.close(fd)
