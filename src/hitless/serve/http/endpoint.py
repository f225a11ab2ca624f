"""One end of a client's TCP connection: its transport, and how it is paused, closed, and given away.

What is said on it is in `connection`; where it stands, in `states`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from hitless.serve.http.facts import Facts, Listener
from hitless.serve.http.states import State, Step, stays_because, step

if TYPE_CHECKING:
    from hitless.serve.http.engine import Engine

RESET: Final = struct.pack("ii", 1, 0)
NEVER: Final = float("inf")
UNFINISHED: Final = (State.RECEIVING, State.UNREAD)
"""States in which more of a body is on its way."""


class Endpoint(asyncio.Protocol):
    """Our end.

    Attributes:
        state: where the connection stands.
        deadline: on the engine's clock; what happens then depends on the state.
        peer: address of the socket's other end; None on a Unix socket.
        client: the same, as requests see it.
        trusted: the peer may say whom it speaks for.
        served: requests answered, here and before a handover.
        last: the next response is the last one here.
        offered: it was offered to another worker; that happens once.
        half_closed: the client sends no more.
        write_paused: the client has not taken enough of what was written.
        unsent, stuck_since: what the sweep has seen in the write buffer, and since when it is the same.
        discarded: bytes read and thrown away.
    """

    __slots__ = (
        "_drained",
        "_kept",
        "_reading",
        "client",
        "deadline",
        "discarded",
        "engine",
        "half_closed",
        "last",
        "listener",
        "offered",
        "opened",
        "peer",
        "scheme",
        "served",
        "server",
        "sock",
        "state",
        "stuck_since",
        "transport",
        "trusted",
        "unsent",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, engine: Engine, sock: socket.socket, listener: Listener, facts: Facts | None) -> None:
        self.engine = engine
        self.sock = sock
        self.listener = listener
        self.state = State.OPENING
        self.deadline = NEVER
        self.last = self.offered = self.half_closed = self.write_paused = self.trusted = False
        self.discarded = self.unsent = 0
        self.stuck_since = 0.0
        self._kept = b""
        self._reading = True
        self._drained: asyncio.Event | None = None
        self.scheme = listener.scheme
        self.server: tuple[str, int | None] = listener.server
        self.peer: tuple[str, int] | None = None if facts is None else facts.peer
        self.client: tuple[str, int] | None = None
        self.served = 0 if facts is None else facts.served
        self.opened = engine.unix_now() if facts is None else facts.opened

    # Reading.

    def pause_reading(self) -> None:
        """Leave further bytes to the kernel."""
        if self._reading:
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, unless bytes are kept."""
        if not self._reading and not self._kept and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    @property
    def is_reading(self) -> bool:
        """Whether bytes of the client reach us."""
        return self._reading

    # Writing.

    def pause_writing(self) -> None:
        self.write_paused = True

    def release_writers(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    async def wait_writable(self) -> None:
        """Until the client has taken enough of what was written, or is gone."""
        while self.write_paused and self.state is not State.CLOSED:
            if self._drained is None:
                self._drained = asyncio.Event()
            await self._drained.wait()

    # Closing.

    def end(self, *, patiently: bool = False) -> None:
        """Close after what is queued.

        A socket that is closed with unread bytes resets the connection, and the client loses what we said
        last; so where bytes are (or may be) on their way, our side is closed first and theirs read for a
        while (RFC 9112, 9.6).
        """
        patiently = patiently or bool(self._kept) or self.state in UNFINISHED
        self.state = step(self.state, Step.END)
        self._kept = b""
        self.discarded = 0
        if patiently and self.transport.can_write_eof() and not self.half_closed:
            self.deadline = self.engine.now + self.engine.closing_time
            self.transport.write_eof()
            self.resume_reading()
        else:
            self.deadline = NEVER  # the write timeout watches over what is queued
            self.transport.close()

    def reset(self) -> None:
        """Close with a RST."""
        with contextlib.suppress(OSError):  # it is gone already
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.abort()

    def abort(self) -> None:
        """Close at once; what is queued is lost."""
        self.deadline = NEVER
        self.transport.abort()

    # Moving to another worker.

    def stays_because(self) -> str | None:
        """Why this connection must not move to another process now; None if it may."""
        if self.state is State.OPENING or self.state is State.CLOSED:
            return stays_because(
                self.state, encrypted=False, last=False, kept_bytes=0, unsent_bytes=0, closing=False
            )
        return stays_because(
            self.state,
            encrypted=self.listener.ssl is not None,
            last=self.last or self.half_closed,
            kept_bytes=len(self._kept),
            unsent_bytes=self.transport.get_write_buffer_size(),
            closing=self.transport.is_closing(),
        )

    def offer(self) -> None:
        """Stop reading and every timer; the connection is about to be offered."""
        self.state = step(self.state, Step.OFFER)
        self.offered = True
        self.deadline = NEVER
        self.pause_reading()

    def release(self) -> tuple[int, Facts]:
        """The descriptor, still owned by this connection, and what must travel with it."""
        return self.sock.fileno(), Facts(
            listener=self.listener.key,
            peer=self.peer,
            served=self.served,
            opened=self.opened,
            server=self.server,
        )

    def forget(self) -> None:
        """The taker has acknowledged: close our copy. The client sees nothing, the other copy keeps the
        connection.
        """
        if self.state is State.CLOSED:
            return  # it was cut meanwhile
        self.state = step(self.state, Step.TAKEN)
        self.engine.counters.handed_over += 1
        self.transport.abort()

    def keep(self) -> None:
        """The offer was refused: go on here, for one more request at most."""
        if self.state is State.CLOSED:
            return  # it was cut meanwhile
        self.state = step(self.state, Step.KEPT)
        self.engine.counters.taken_back += 1
        assert self.engine.drain_plan is not None
        self.engine.drain_plan.stay(self)
        self.resume_reading()
