"""An engine without sockets: a transport that hands bytes over exactly as they are cut, and remembers what is written."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hitless.serve.http.connection import Connection
from hitless.serve.http.engine import Engine
from hitless.serve.http.facts import Listener
from hitless.serve.http.options import HttpOptions

LISTENER = Listener("main", "http", ("127.0.0.1", 80), None)
Request = tuple[str, bytes, tuple[tuple[bytes, bytes], ...], bytes]
"""Method, target, fields, body."""
TURNS = 200
"""Of the loop, until whatever can happen without more bytes has happened."""


class Transport(asyncio.Transport):
    """The client's bytes come by `give`; ours are in `written`."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000)})
        self.written = bytearray()
        self.is_paused = False
        self.has_said_all = False
        self._is_closing = False
        self.protocol: Connection | None = None

    def write(self, data: Any) -> None:
        assert not self.has_said_all, "nothing is written after the end"
        if not self._is_closing:
            self.written += data

    def write_eof(self) -> None:
        self.has_said_all = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self._lose)

    abort = close

    def _lose(self) -> None:
        assert self.protocol is not None
        self.protocol.connection_lost(None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


@dataclass
class Seen:
    """What an application saw, in the order in which it did."""

    requests: list[Request] = field(default_factory=list)
    """Those that were complete."""
    begun: int = 0
    written: bytes = b""
    unhandled: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What is still there after the end."""


async def run(pieces: Iterable[bytes], *, reads: bool = True) -> Seen:
    """One connection that gets `pieces`, each in a callback of its own, then the end of file, then is lost."""
    seen = Seen()
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    loop.set_exception_handler(lambda _loop, context: seen.unhandled.append(context))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.begun += 1
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
            return
        body = b""
        more = reads
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        seen.requests.append((scope["method"], target, tuple(scope["headers"]), body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    options = HttpOptions(interface="asgi", body_bytes=100_000)
    engine = Engine(app, options, loop=loop)
    with socket.socket() as sock:
        connection = Connection(engine, sock, LISTENER, None)
        transport = Transport()
        transport.protocol = connection
        connection.connection_made(transport)
        for piece in pieces:
            await _settle(transport, lambda: transport.is_paused)
            if transport.is_closing():
                break
            if piece:
                connection.data_received(piece)
        await _settle(transport, lambda: bool(engine.running) and connection.state.name != "RECEIVING")
        if not transport.is_closing() and not connection.eof_received():
            transport.close()
        await _settle(transport, lambda: bool(engine.running) or not transport.is_closing())
        transport.close()
        await _settle(transport, lambda: bool(engine.running))
    seen.written = bytes(transport.written)
    seen.left = [repr(task) for task in asyncio.all_tasks() - before]
    seen.left += [f"exchange {exchange!r}" for exchange in engine.running]
    seen.left += [f"connection {one!r}" for one in engine.connections]
    engine.sweep.stop()
    return seen


async def _settle(transport: Transport, is_busy: Any) -> None:
    """Lets the loop turn at least once, and on while there is something to do, at most TURNS times."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
        if not is_busy():
            return
