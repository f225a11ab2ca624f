"""Timeouts of all connections of an engine, by one periodic sweep.

A timer per request would cost more than the request's parsing. So a connection only notes its deadline, a
float, on the engine's own clock, and the sweep looks at all of them a few times a second. That clock counts
the time in which the loop was able to
serve: when something blocks the loop for ten seconds, clients are not punished for our ten seconds.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hitless.serve.http.states import State

if TYPE_CHECKING:
    import asyncio

    from hitless.serve.http.connection import Connection
    from hitless.serve.http.engine import Engine

COARSEST: Final = 0.5
FINEST: Final = 0.01


class Sweep:
    """Runs while there are connections."""

    def __init__(self, engine: Engine) -> None:
        options = engine.options
        shortest = min(
            options.keep_alive,
            options.header_timeout,
            options.body_timeout,
            options.write_timeout,
            options.linger or COARSEST,
        )
        self.period = max(FINEST, min(COARSEST, shortest / 4))
        """Seconds between two looks: a deadline is met at most that much late."""
        self._engine = engine
        self._handle: asyncio.TimerHandle | None = None
        self._looked = 0.0

    def start(self) -> None:
        """There is a connection."""
        if self._handle is None:
            self._engine.heads.tick()
            self._looked = self._engine.loop.time()
            self._handle = self._engine.loop.call_later(self.period, self._look)

    def stop(self) -> None:
        """No more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        engine = self._engine
        self._handle = None
        time = engine.loop.time()
        engine.now += min(time - self._looked, 2 * self.period)
        self._looked = time
        engine.heads.tick()
        for connection in list(engine.connections):
            if connection.deadline <= engine.now:
                _EXPIRED[connection.state](connection)
            self._watch_writing(connection)
            if engine.drain_plan is not None:
                engine.drain_plan.end_stream_later(connection)
        if engine.connections:
            self._handle = engine.loop.call_later(self.period, self._look)

    def _watch_writing(self, connection: Connection) -> None:
        """Cut a client that takes nothing of what is queued for it."""
        if connection.state is State.OPENING or connection.state is State.CLOSED:
            return
        unsent = connection.transport.get_write_buffer_size()
        if unsent != connection.unsent or not unsent:
            connection.unsent = unsent
            connection.stuck_since = self._engine.now
        elif self._engine.now - connection.stuck_since > self._engine.options.write_timeout:
            self._engine.log("info", "client takes no more of its response", peer=connection.peer)
            connection.abort()


def _nothing(connection: Connection) -> None:
    """No deadline in this state."""


def _idle(connection: Connection) -> None:
    """Close, unless a request is waiting in the kernel: between its arrival and our reading lies the
    classical lost request.
    """
    try:
        if connection.sock.recv(1, socket.MSG_PEEK):
            return
    except OSError:
        pass  # nothing is waiting, or the connection is broken: either way it may go
    if connection.last:
        connection.engine.counters.lingered += 1
    connection.end()


def _head(connection: Connection) -> None:
    if connection.reader.begun:
        connection.refuse(408, "the request's head took too long")
    else:
        connection.end()


def _body(connection: Connection) -> None:
    connection.refuse(408, "the request's body took too long")


def _unread(connection: Connection) -> None:
    connection.end()


def _closing(connection: Connection) -> None:
    connection.abort()


def _websocket(connection: Connection) -> None:
    assert connection.exchange is not None
    connection.exchange.probe()


_EXPIRED: Final[dict[State, Callable[[Connection], None]]] = {
    State.OPENING: _nothing,
    State.IDLE: _idle,
    State.HEAD: _head,
    State.RECEIVING: _body,
    State.ANSWERING: _nothing,
    State.UNREAD: _unread,
    State.WEBSOCKET: _websocket,
    State.OFFERED: _nothing,
    State.CLOSING: _closing,
    State.CLOSED: _nothing,
}
