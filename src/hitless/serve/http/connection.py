"""One client connection: bytes in, exchanges out, one at a time.

The state is in `states`, the parsing in `reader`, the answers in the exchange (`asgi`, `wsgi`,
`websocket`); what happens when time runs out is in `timers`, when the worker drains in `drain`. Here they
meet the transport.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from hitless.serve.http.endpoint import NEVER, Endpoint
from hitless.serve.http.errors import RequestRefused
from hitless.serve.http.facts import Facts, Listener
from hitless.serve.http.reader import END, RequestReader
from hitless.serve.http.states import State, Step, step

if TYPE_CHECKING:
    from hitless.serve.http.engine import Engine
    from hitless.serve.http.exchange import Exchange
    from hitless.serve.http.response import Response

IDLE: Final = State.IDLE
HEAD: Final = State.HEAD
RECEIVING: Final = State.RECEIVING
ANSWERING: Final = State.ANSWERING
UNREAD: Final = State.UNREAD
CLOSED: Final = State.CLOSED

# The steps of a plain request, looked up in the table once: hashing an enum for each would cost more than
# parsing.
AFTER_BYTES: Final = step(IDLE, Step.BYTES)
AFTER_REQUEST: Final = step(HEAD, Step.REQUEST_READ)
AFTER_HEAD: Final = step(HEAD, Step.HEAD_READ)
AFTER_ANSWER: Final = step(ANSWERING, Step.ANSWERED)

SWITCHING: Final = 101
UNREAD_LIMIT: Final = 256 * 1024
"""Bytes of an unwanted request body that are read to save the connection; with more to come it is closed."""
DISCARD_LIMIT: Final = 4 * 1024 * 1024
"""Bytes thrown away while a client is given the time to read our last words (RFC 9112, 9.6)."""
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Endpoint):
    """The protocol of one socket: HTTP, until an upgrade.

    Attributes:
        exchange: the request being answered, or None.
        leaving: the timer that ends this stream in a drain.
        scope: what is the same in every request's scope or environ.
    """

    __slots__ = ("exchange", "leaving", "reader", "scope")

    def __init__(self, engine: Engine, sock: socket.socket, listener: Listener, facts: Facts | None) -> None:
        super().__init__(engine, sock, listener, facts)
        options = engine.options
        self.reader = RequestReader(
            header_bytes=options.header_bytes, headers=options.headers, body_bytes=options.body_bytes
        )
        self.exchange: Exchange | None = None
        self.leaving: asyncio.TimerHandle | None = None
        self.scope: dict[str, Any] | None = None

    # The transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self.state = step(self.state, Step.OPENED)
        self.engine.introduce(self)
        self.deadline = self.engine.now + self.engine.options.keep_alive
        if self.engine.drain_plan is not None:
            # Not at once: a transport is not ready to be paused while it introduces itself.
            self.engine.loop.call_soon(self.engine.drain_plan.settle, self)

    def data_received(self, data: bytes) -> None:
        if self.state is IDLE:
            self.state = AFTER_BYTES
            self._read(data)
            if self.state is HEAD:
                self.deadline = self.engine.now + self.engine.options.header_timeout
        else:
            _ON_DATA[self.state](self, data)

    def eof_received(self) -> bool:
        """The client sends no more. A client that only shut down its sending side still gets the response
        it waits for.
        """
        if self.state is not ANSWERING or self.listener.ssl is not None or self.exchange is None:
            return False
        self.half_closed = True
        # It may as well be gone altogether: TCP cannot tell. So the application learns of it and may stop;
        # if it goes on, we send.
        self.exchange.client_left()
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - named by the protocol
        if self.state is not CLOSED:
            self.state = step(self.state, Step.LOST)
        exchange = self.exchange
        if exchange is not None:
            exchange.disconnected()
            if exchange.status != SWITCHING:
                self.engine.broken_off(self, exchange)
        self.release_writers()
        if self.leaving is not None:
            self.leaving.cancel()
        self.exchange = None
        self._kept = b""
        self.reader.close()
        self.engine.discard(self)

    def resume_writing(self) -> None:
        self.write_paused = False
        self.release_writers()
        if self.exchange is not None:
            self.exchange.writable()
        if self.engine.drain_plan is not None and self.state is IDLE:
            self.engine.loop.call_soon(self.engine.drain_plan.settle, self)

    # Reading.

    def _read(self, data: bytes) -> None:
        reader = self.reader
        try:
            rest = reader.feed(data)
        except RequestRefused as refusal:
            self.refuse(refusal.status, refusal.why, *refusal.fields)
            return
        if rest:
            self._kept = rest
        if self.state is HEAD:
            if not reader.headed:
                return
            self._begin()
        elif reader.held or reader.complete:
            self._receive()
        if self._kept and self.state is ANSWERING:
            self.pause_reading()

    def _begin(self) -> None:
        """The head is complete: start the application."""
        engine = self.engine
        if len(engine.running) >= engine.concurrency:
            self.refuse(503, "too many requests in flight", (b"retry-after", b"1"))
            return
        reader = self.reader
        if reader.complete:
            self.state = AFTER_REQUEST
            self.deadline = NEVER
        else:
            self.state = AFTER_HEAD
            self.deadline = engine.now + engine.options.body_timeout
        engine.counters.requests += 1
        try:
            exchange = engine.exchange_type(self) if reader.marked is None else engine.special(self)
        except RequestRefused as refusal:
            self.refuse(refusal.status, refusal.why, *refusal.fields)
            return
        self.exchange = exchange
        engine.running.add(exchange)
        if engine.access is not None:
            exchange.began = time.monotonic()
        exchange.start()

    def _receive(self) -> None:
        """Some of the body came."""
        reader, exchange = self.reader, self.exchange
        if reader.complete:
            self.state = step(self.state, Step.REQUEST_READ)
            self.deadline = NEVER
        else:
            self.deadline = self.engine.now + self.engine.options.body_timeout
        if exchange is not None:
            exchange.receive_body()
            return
        self.discarded += len(reader.take())
        if self.state is IDLE:
            self.reader.reset()
            self.deadline = self.engine.now + self.engine.keep_alive
            self._go_on()
        elif self.discarded > UNREAD_LIMIT:
            self.end()

    def _keep_bytes(self, data: bytes) -> None:
        """Bytes of a later message wait here; the kernel keeps those that follow them."""
        self._kept += data
        self.pause_reading()

    def _websocket_data(self, data: bytes) -> None:
        assert self.exchange is not None
        self.exchange.receive_data(data)

    def _discard(self, data: bytes) -> None:
        self.discarded += len(data)
        if self.discarded > DISCARD_LIMIT:
            self.abort()

    def pause_body(self) -> None:
        """The application does not keep up with the body: let the client wait, without a deadline."""
        self.deadline = NEVER
        self.pause_reading()

    def resume_body(self) -> None:
        """The application has taken what there was."""
        if not self._reading and self.state is RECEIVING:
            self.deadline = self.engine.now + self.engine.options.body_timeout
            self.resume_reading()

    # Answering.

    def must_close(self, response: Response, *, more: bool) -> bool:
        """Whether the head that is being made must say `Connection: close`."""
        if self.last or (self.half_closed and not self._kept):
            return True
        if more or self.state is not RECEIVING:
            return False
        # The application does not want the rest of the body; is it worth reading?
        return self.reader.length > UNREAD_LIMIT or response.awaits_continue

    def answered(self, response: Response) -> None:
        """The response is complete."""
        engine = self.engine
        engine.counters.responses[response.status // 100] += 1
        if engine.access is not None:
            engine.access(self, response, response.status, response.written)
        self.served += 1
        self.exchange = None
        if not response.keep:
            self.end()
            return
        if self.state is ANSWERING:
            self.state = AFTER_ANSWER
            self.reader.reset()
            self.deadline = engine.now + engine.keep_alive
            if self._kept or self.half_closed or not self._reading or engine.drain_plan is not None:
                self._go_on()
            return
        self.state = step(self.state, Step.ANSWERED)
        self.discarded = len(self.reader.take())
        self.deadline = self.engine.now + self.engine.options.body_timeout
        self.resume_reading()

    def _go_on(self) -> None:
        """Idle again: what came meanwhile is next."""
        engine = self.engine
        kept = self._kept
        if kept:
            self._kept = b""
            self.data_received(kept)
            self.resume_reading()
        elif self.half_closed:
            self.end()
        else:
            if not self._reading:
                self.resume_reading()
            if engine.drain_plan is not None:
                engine.drain_plan.settle(self)

    def upgraded(self, exchange: Exchange) -> bytes:
        """The connection speaks something else now; returns the bytes that came behind the request."""
        self.state = step(self.state, Step.UPGRADED)
        self.engine.upgraded(self, exchange)
        self.expect_data()
        kept, self._kept = self._kept, b""
        self.resume_reading()
        return kept

    def expect_data(self) -> None:
        """An upgraded connection may be silent as long as an idle one; then it is probed."""
        self.deadline = self.engine.now + self.engine.options.keep_alive

    def send_continue(self) -> None:
        """Tell a client that waits for it to send its body."""
        self.transport.write(CONTINUE)

    def refuse(self, status: int, why: str, *fields: tuple[bytes, bytes]) -> None:
        """Answer with an error of ours and close."""
        exchange = self.exchange
        if exchange is not None:
            exchange.disconnected()
            self.exchange = None
            if exchange.begun:
                self.break_off(exchange)
                return
        if self.state is not UNREAD:
            self.engine.refused(self, exchange, status)
            reply = self.engine.heads.plain(status, why, *fields)
            if self.reader.headed and self.reader.method == "HEAD":
                reply = reply[: reply.index(END) + len(END)]
            self.transport.write(reply)
        self.end(patiently=True)

    def break_off(self, response: Response) -> None:
        """Close so that the client can tell that its response is not complete.

        Where a length or chunks were announced the end of the connection says so, and what was written may
        still arrive. A body that ends with the connection would look complete after a FIN: only a reset
        tells.
        """
        response.gone = True
        if response.chunked or response.left > 0:
            self.end()
        else:
            self.reset()


def _ignore(connection: Connection, data: bytes) -> None:
    """Nothing can come in this state; if it does, it came after the end."""


_BY_STATE: Final[dict[State, Callable[[Connection, bytes], Any]]] = {
    State.OPENING: _ignore,
    State.HEAD: Connection._read,
    State.RECEIVING: Connection._read,
    State.ANSWERING: Connection._keep_bytes,
    State.UNREAD: Connection._read,
    State.WEBSOCKET: Connection._websocket_data,
    State.OFFERED: _ignore,
    State.CLOSING: Connection._discard,
    State.CLOSED: _ignore,
}

_ON_DATA: Final = tuple(_BY_STATE.get(state, _ignore) for state in State)
"""The same by the state's number."""
