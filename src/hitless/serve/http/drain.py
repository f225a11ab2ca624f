"""How an engine is emptied: connections move to another worker, or go down the ladder.

The ladder, for what cannot move (TLS, refusals, or nobody there to take it): finish the request; say
`Connection: close` on the next response, and wait `linger` for the one that carries it; end streams, each
at its own moment; at last `cut`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from hitless.serve.http.states import State

if TYPE_CHECKING:
    from hitless.serve.http.connection import Connection
    from hitless.serve.http.endpoint import Endpoint
    from hitless.serve.http.engine import Engine
    from hitless.serve.http.exchange import Exchange

Give = Callable[["Connection"], None]


def jitter() -> float:
    """A random number in [0, 1), from the system: forked workers must not draw the same."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


class Drain:
    """One engine's drain; it has begun when this exists."""

    def __init__(self, engine: Engine, give: Give | None) -> None:
        self._engine = engine
        self._give = give

    def begin(self) -> None:
        """Tell every connection."""
        for connection in list(self._engine.connections):
            if not self._may_move(connection):
                self.stay(connection)
            self.settle(connection)

    def _may_move(self, connection: Connection) -> bool:
        return self._give is not None and connection.listener.ssl is None and not connection.offered

    def settle(self, connection: Connection) -> None:
        """Look at a connection that is new, or has just become idle, or that the drain has just found."""
        if connection.exchange is not None:
            self.end_stream_later(connection)
        elif connection.state is not State.IDLE:
            return
        elif not self._may_move(connection):
            self.stay(connection)
        elif connection.stays_because() is None:
            assert self._give is not None
            connection.offer()
            self._give(connection)
        elif connection.transport.get_write_buffer_size():
            # Its last response is not sent yet. Ask to be told when it is: `resume_writing` comes back here.
            connection.transport.set_write_buffer_limits(high=0)
        else:
            self.stay(connection)

    def stay(self, connection: Endpoint) -> None:
        """First step of the ladder: one more request, answered with `Connection: close`, within `linger`."""
        connection.last = True
        if connection.state is State.IDLE:
            connection.deadline = min(connection.deadline, self._engine.now + self._engine.options.linger)

    def end_stream_later(self, connection: Connection) -> None:
        """Give a WebSocket or an event stream its own moment, if it has none yet."""
        exchange = connection.exchange
        if exchange is None or connection.leaving is not None or exchange.is_told_to_end:
            return
        if exchange.event_stream or connection.state is State.WEBSOCKET:
            options = self._engine.options
            delay = options.stream + options.spread * jitter()
            connection.leaving = self._engine.loop.call_later(delay, self._end_stream, connection, exchange)

    def _end_stream(self, connection: Connection, exchange: Exchange) -> None:
        connection.leaving = None
        if connection.exchange is exchange:
            exchange.end_stream()
