"""The HTTP server inside one worker: sockets in, requests to the application, and an orderly end."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

from hitless.serve.http.access import CLIENT_LEFT, access_log
from hitless.serve.http.connection import Connection
from hitless.serve.http.drain import Drain, Give
from hitless.serve.http.exchange import Exchange
from hitless.serve.http.facts import Counters, Facts, Listener
from hitless.serve.http.forwarded import Forwarded
from hitless.serve.http.heads import Heads
from hitless.serve.http.options import HttpOptions
from hitless.serve.http.response import Response
from hitless.serve.http.states import State
from hitless.serve.http.timers import Sweep
from hitless.serve.http.wsgi_life import wsgi_shutdown, wsgi_startup

Log = Callable[..., None]
"""Called as `log(level, event, **fields)`; `exc_info` among the fields is an exception."""

WILDCARDS = ("0.0.0.0", "::", "")


SHOWN_BYTES = 200


def _shown(target: bytes) -> str:
    """The path, as far as it is worth showing: a client may have sent any length."""
    path = target.partition(b"?")[0]
    return path[:SHOWN_BYTES].decode("latin-1") + ("…" if len(path) > SHOWN_BYTES else "")


def _silent(level: str, event: str, **fields: object) -> None:
    """Where nobody wants the log."""


class Engine:
    """Serves one application.

    Attributes:
        now: the engine's clock (see `timers`), seconds.
        running: exchanges whose application has not returned yet; they hold the tasks.
        drain_plan: there from `drain` on.
    """

    def __init__(
        self,
        app: Any,
        options: HttpOptions,
        *,
        loop: asyncio.AbstractEventLoop,
        on_empty: Callable[[], None] | None = None,
        log: Log = _silent,
        access: Callable[[str], None] | None = None,
    ) -> None:
        self.app = app
        self.options = options
        self.loop = loop
        self.log = log
        self.access = access_log(options.access, access)
        self.counters = Counters()
        self.heads = Heads(options.server_name)
        self.forwarded = Forwarded(options.forwarded_allow_ips)
        self.root_path = options.root_path
        self.raw_root_path = options.root_path.encode()
        self.state: dict[str, Any] | None = None
        self.now = 0.0
        self.running: set[Exchange] = set()
        self.drain_plan: Drain | None = None
        self.sweep = Sweep(self)
        self.concurrency = options.concurrency or sys.maxsize
        self.keep_alive = options.keep_alive
        self.closing_time = min(2.0, options.write_timeout)
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._on_empty = on_empty
        self._is_empty_told = False
        self._ids = itertools.count(1)
        self._id_prefix = ""
        self._start_interface()

    def _start_interface(self) -> None:
        """Import and build only the side that is used."""
        self.exchange_type: type[Exchange]
        if self.options.interface == "asgi":
            from hitless.serve.http.asgi import AsgiExchange
            from hitless.serve.http.lifespan import Lifespan

            self.exchange_type = AsgiExchange
            self._lifespan: Lifespan | None = Lifespan(self)
        else:
            from hitless.serve.http.environ import base_environ
            from hitless.serve.http.pool import ThreadPool
            from hitless.serve.http.wsgi import WsgiExchange

            self.exchange_type = WsgiExchange
            self._lifespan = None
            self.pool = ThreadPool(self.loop, threads=self.options.threads)
            self.base_environ = base_environ(
                threads=self.options.threads,
                multiprocess=self.options.multiprocess,
                software=self.options.server_name,
                root_path=self.root_path,
            )

    # Life of the engine.

    async def startup(self) -> None:
        """Make the application ready: its lifespan, or its threads.

        Raises:
            StartupFailed: the application said so; the message is its own.
        """
        if self._lifespan is None:
            await wsgi_startup(self.app)
            self.pool.start()
            return
        await self._lifespan.startup()
        self.state = self._lifespan.state

    async def shutdown(self) -> None:
        """The end of the application's lifespan; its errors are logged. The caller sets the deadline."""
        self.sweep.stop()
        if self._lifespan is None:
            self.pool.stop()
            await wsgi_shutdown(self.app)
        else:
            await self._lifespan.shutdown()

    def drain(self, give: Give | None = None) -> None:
        """Empty this engine: offer every connection that may move to `give`, once, now or when it becomes
        idle.

        What cannot move, or comes back by `keep`, goes down the ladder (see `drain`). `on_empty` is called
        when the last connection is gone and the last application call has returned.
        """
        if self.drain_plan is not None:
            return
        self.drain_plan = Drain(self, give)
        self.drain_plan.begin()
        self.loop.call_soon(self.look_if_empty)

    def cut(self) -> list[str]:
        """The drain's deadline: abort what is left. Returns a line per connection, for the log."""
        lines = []
        for connection in list(self._connections):
            lines.append(self._line(connection))
            self.counters.cut += 1
            self._abort(connection)
        for exchange in list(self.running):
            exchange.cancel()
        return lines

    def _abort(self, connection: Connection) -> None:
        if connection.state is State.OPENING:
            connection.sock.close()
            connection.state = State.CLOSED
            self.discard(connection)
        else:
            connection.abort()

    # Connections.

    def accept(self, sock: socket.socket, listener: Listener) -> None:
        """Serve a freshly accepted non-blocking socket; it belongs to the engine from here on."""
        self.counters.connections_opened += 1
        self._open(Connection(self, sock, listener, None))

    def adopt(self, sock: socket.socket, listener: Listener, facts: Facts) -> None:
        """Serve a connection that another worker has handed over, and whose taking has been acknowledged."""
        self.counters.connections_adopted += 1
        self._open(Connection(self, sock, listener, facts))

    def _open(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._is_empty_told = False
        self.sweep.start()
        task = self.loop.create_task(self._connect(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, connection: Connection) -> None:
        ssl = connection.listener.ssl
        try:
            await self.loop.connect_accepted_socket(
                lambda: connection,
                connection.sock,
                ssl=ssl,
                ssl_handshake_timeout=None if ssl is None else self.options.header_timeout,
            )
        except OSError as error:
            # A handshake that failed, or a client that left at once.
            self.log("debug", "connection not opened", listener=connection.listener.key, reason=str(error))
            if connection.state is State.OPENING:
                self._abort(connection)

    def introduce(self, connection: Connection) -> None:
        """Fill in what a connection knows of its client once its transport is there."""
        transport, listener = connection.transport, connection.listener
        if connection.peer is None:
            peer = transport.get_extra_info("peername")
            if isinstance(peer, tuple):
                connection.peer = (str(peer[0]), int(peer[1]))
        connection.client = connection.peer
        connection.trusted = self.forwarded.trusts(None if connection.peer is None else connection.peer[0])
        if listener.server[0] in WILDCARDS:
            name = transport.get_extra_info("sockname")
            if isinstance(name, tuple):
                connection.server = (str(name[0]), int(name[1]))

    def discard(self, connection: Connection) -> None:
        """A connection is gone from here."""
        self._connections.discard(connection)
        if self.drain_plan is not None:
            self.look_if_empty()

    @property
    def connections(self) -> Collection[Connection]:
        """All connections that this engine holds."""
        return self._connections

    # Requests.

    @property
    def in_flight(self) -> int:
        """Requests whose application has not returned yet."""
        return len(self.running)

    def special(self, connection: Connection) -> Exchange:
        """The exchange of a request with fields that the server acts on.

        Raises:
            RequestRefused: it cannot be met.
        """
        reader = connection.reader
        assert reader.marked is not None
        kind = self.exchange_type if reader.upgrade is None else self._upgrade_type()
        exchange = kind(connection)
        exchange.expect(reader.marked)
        return exchange

    def _upgrade_type(self) -> type[Exchange]:
        """For a WebSocket handshake; an engine that cannot speak WebSocket answers it as the GET that it
        also is.
        """
        if self.options.interface == "wsgi":
            return self.exchange_type
        try:
            from hitless.serve.http.websocket import WebSocketExchange
        except ImportError as error:
            self.log("error", "no websockets: wsproto is not installed", reason=str(error))
            return self.exchange_type
        return WebSocketExchange

    def upgraded(self, connection: Connection, exchange: Exchange) -> None:
        """A connection has become a WebSocket."""
        self.counters.websockets += 1
        self.counters.responses[1] += 1
        if self.access is not None:
            self.access(connection, exchange, exchange.status, 0)
        if self.drain_plan is not None:
            self.drain_plan.end_stream_later(connection)

    def refused(self, connection: Connection, response: Response | None, status: int) -> None:
        """An error reply of ours; `response` is what the application would have answered, if it was asked."""
        self.counters.responses[status // 100] += 1
        if self.access is not None:
            self.access(connection, response, status, 0)

    def broken_off(self, connection: Connection, response: Response) -> None:
        """The connection was lost before the response was complete."""
        if self.access is not None:
            self.access(connection, response, response.status or CLIENT_LEFT, response.written)

    def finished(self, exchange: Exchange) -> None:
        """The application has returned."""
        self.running.discard(exchange)
        if self.drain_plan is not None:
            self.look_if_empty()

    def look_if_empty(self) -> None:
        """Tell, once, when nothing is left."""
        if self._connections or self.running or self._is_empty_told:
            return
        self._is_empty_told = True
        if self._on_empty is not None:
            self._on_empty()

    def new_id(self) -> str:
        """A request id: unique enough, and cheap."""
        if not self._id_prefix:
            self._id_prefix = os.urandom(6).hex()
        return f"{self._id_prefix}{next(self._ids):08x}"

    @staticmethod
    def unix_now() -> float:
        """Unix time."""
        return time.time()

    # Views.

    def describe(self, limit: int = 100) -> list[dict[str, Any]]:
        """What every connection is at, for `status`; the oldest `limit` of them."""
        oldest = sorted(self._connections, key=lambda connection: connection.opened)
        return [self._description(connection) for connection in oldest[:limit]]

    def _description(self, connection: Connection) -> dict[str, Any]:
        exchange = connection.exchange
        return {
            "peer": None if connection.peer is None else "{}:{}".format(*connection.peer),
            "listener": connection.listener.key,
            "state": connection.state.name.lower(),
            "kind": "idle" if exchange is None else exchange.kind_now(),
            "method": None if exchange is None else exchange.method,
            "path": None if exchange is None else _shown(exchange.target),
            "served": connection.served,
            "age_s": round(self.unix_now() - connection.opened, 3),
            "in_flight_s": None if exchange is None else round(self.now - exchange.since, 3),
            "stays": connection.stays_because(),
        }

    def _line(self, connection: Connection) -> str:
        what = self._description(connection)
        request = f"{what['method']} {what['path']}" if what["method"] else what["state"]
        return f"{what['peer'] or 'unix'} {request} age {what['age_s']:.1f}s"
