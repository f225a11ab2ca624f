"""A service to test against, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

from hitless.serve.http.connection import Connection
from hitless.serve.http.engine import Engine
from hitless.serve.http.facts import Facts, Listener
from hitless.serve.http.options import HttpOptions

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
PATIENCE = 10.0
"""Seconds after which a test that waits for something has failed."""


def get(path: str = "/", *lines: str, version: str = "1.1", method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: test", *lines, "", ""]).encode()


def post(body: bytes, path: str = "/", *lines: str) -> bytes:
    """A request with a Content-Length body."""
    return get(path, f"Content-Length: {len(body)}", *lines, method="POST") + body


@dataclass
class Reply:
    """A parsed response."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    head: bytes

    def __getitem__(self, name: str) -> str | None:
        values = [value for known, value in self.fields if known == name]
        return ", ".join(values) if values else None


class Client:
    """One client connection."""

    def __init__(
        self, sock: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.sock = sock
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, address: Any, *, context: ssl.SSLContext | None = None, buffer: int = 0) -> Client:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        sock = socket.socket(family)
        sock.setblocking(False)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(sock, address)
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname="localhost" if context else None
        )
        return cls(sock, reader, writer)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def line(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\n"), PATIENCE)

    async def head(self) -> Reply:
        """A response's head; the body stays unread."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        fields = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        return Reply(int(first.split(" ")[1]), fields, b"", head)

    async def reply(self, *, method: str = "GET") -> Reply:
        """A whole response, framed as RFC 9112 says."""
        reply = await self.head()
        if method == "HEAD" or reply.status in (204, 304) or reply.status < 200:
            return reply
        if reply["transfer-encoding"] == "chunked":
            reply.body = await self._chunks()
        elif reply["content-length"] is not None:
            reply.body = await self.exactly(int(reply["content-length"]))
        else:
            reply.body = await self.rest()
        return reply

    async def ask(self, request: bytes = GET, *, method: str = "GET") -> Reply:
        await self.send(request)
        return await self.reply(method=method)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.line(), 16):
            body += await self.exactly(size)
            assert await self.line() == b"\r\n"
        assert await self.line() == b"\r\n"
        return body

    async def exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE)

    async def rest(self) -> bytes:
        """Everything until the server closes; raises ConnectionResetError if it resets."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE)

    async def closed(self) -> bool:
        """Wait for the server's FIN; nothing may come before it."""
        return await self.rest() == b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with a RST."""
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
        )
        self.writer.transport.abort()


@dataclass
class Logged:
    """A log line."""

    level: str
    event: str
    fields: dict[str, Any] = field(default_factory=dict)


def _without_lifespan(app: Any) -> Any:
    """So that a test's application need not look what it is called for."""

    async def requests_only(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await app(scope, receive, send)

    return requests_only


class Service:
    """An engine behind a listening socket."""

    def __init__(
        self,
        app: Any,
        *,
        interface: str = "asgi",
        context: ssl.SSLContext | None = None,
        path: str | None = None,
        lifespan: bool = False,
        **options: Any,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.logs: list[Logged] = []
        self.access: list[str] = []
        self.empty = asyncio.Event()
        self.opened = asyncio.Event()
        options.setdefault("threads", 2)
        self.engine = Engine(
            app if lifespan or interface == "wsgi" else _without_lifespan(app),
            HttpOptions(interface=interface, **options),  # type: ignore[arg-type]
            loop=self.loop,
            on_empty=self.empty.set,
            log=lambda level, event, **fields: self.logs.append(Logged(level, event, fields)),
            access=self.access.append,
        )
        self.sock = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
        self.sock.bind(path or ("127.0.0.1", 0))
        self.sock.listen(100)
        self.sock.setblocking(False)
        self.address = self.sock.getsockname()
        server = (path, None) if path else self.address
        self.listener = Listener("main", "https" if context else "http", server, context)
        self._clients: list[Client] = []

    async def start(self) -> None:
        await self.engine.startup()
        self.loop.add_reader(self.sock.fileno(), self._accept)

    def _accept(self) -> None:
        sock, _ = self.sock.accept()
        sock.setblocking(False)
        self.engine.accept(sock, self.listener)

    async def connect(self, *, context: ssl.SSLContext | None = None, buffer: int = 0) -> Client:
        client = await Client.connect(self.address, context=context, buffer=buffer)
        self._clients.append(client)
        return client

    async def stop(self) -> None:
        if self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock.fileno())
            self.sock.close()
        for client in self._clients:
            client.close()
        self.engine.drain(None)
        self.engine.cut()
        await asyncio.wait_for(self.empty.wait(), PATIENCE)
        await asyncio.wait_for(self.engine.shutdown(), PATIENCE)

    @property
    def only(self) -> Connection:
        """The one connection."""
        (connection,) = self.engine.connections
        return connection

    async def until(self, condition: Any) -> None:
        """Until something is so; a test that waits too long has failed."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - the condition may be anything
                await asyncio.sleep(0.001)

    def errors(self) -> list[str]:
        return [line.event for line in self.logs if line.level == "error"]


class Taker:
    """Takes what another engine gives, as a second worker would: a duplicate descriptor, facts through JSON."""

    def __init__(self, to: Service, *, refuses: bool = False) -> None:
        self.to = to
        self.refuses = refuses
        self.offered: list[Connection] = []

    def __call__(self, connection: Connection) -> None:
        self.offered.append(connection)
        descriptor, facts = connection.release()
        copy = None if self.refuses else os.dup(descriptor)
        self.to.loop.call_soon(self._answer, connection, copy, facts)

    def _answer(self, connection: Connection, copy: int | None, facts: Facts) -> None:
        if copy is None:
            connection.keep()
            return
        connection.forget()
        sock = socket.socket(fileno=copy)
        sock.setblocking(False)
        self.to.engine.adopt(sock, self.to.listener, Facts.from_dict(facts.as_dict()))
