"""One request and its response, piece by piece, over a connection of their own."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

import httptools

from hitless.load.long.ending import Lost
from hitless.load.target import Target

READ_BYTES = 64 * 1024
CLOSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of a response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    keep_alive: bool

    def header(self, name: str) -> str | None:
        """The first header of this (lower case) name."""
        return next((value for key, value in self.headers if key == name), None)


class Wire:
    """Made by :meth:`open`; closed by leaving its context. Every loss of the connection is a
    :class:`Lost`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._head: Head | None = None
        self._pieces: deque[bytes] = deque()
        self._complete = False

    @classmethod
    async def open(cls, target: Target, *, buffer_bytes: int | None = None) -> Self:
        """Connect; `buffer_bytes` bounds what the kernel and this side read ahead, so that a slow reader is
        one.

        Raises:
            Lost: refused.
        """
        limit = buffer_bytes or READ_BYTES
        try:
            if target.unix is not None:
                return cls(*await asyncio.open_unix_connection(target.unix, limit=limit))
            sock = await _connected(target, buffer_bytes)
            return cls(*await asyncio.open_connection(sock=sock, limit=limit))
        except OSError as error:
            raise Lost(f"refused ({error.strerror or error})") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection at once, whatever is under way."""
        self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Send `data`, waiting while the server takes nothing.

        Raises:
            Lost: the server ended the connection.
        """
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise Lost(_reason(error)) from error

    async def receive(self, size: int = READ_BYTES) -> bytes:
        """The next bytes as they come, empty at EOF.

        Raises:
            Lost: reset.
        """
        try:
            return await self.reader.read(size)
        except ConnectionError as error:
            raise Lost(_reason(error)) from error

    async def head(self) -> Head:
        """Wait for the final response's head.

        Raises:
            Lost: the connection ended before, or what came is not HTTP.
        """
        while self._head is None:
            await self._feed(READ_BYTES)
        return self._head

    async def pieces(self, size: int = READ_BYTES) -> AsyncIterator[bytes]:
        """The response's content, at most about `size` bytes at a time; ends when it is complete.

        Raises:
            Lost: the connection ended before.
        """
        await self.head()
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if self._complete:
                return
            await self._feed(size)

    async def _feed(self, size: int) -> None:
        data = await self.receive(size)
        if not data:
            if self._head is None or not self._ends_with_connection():
                raise Lost("eof")
            self._complete = True
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Lost(f"garbled ({error})") from error

    def _ends_with_connection(self) -> bool:
        assert self._head is not None
        return self._head.header("content-length") is None and self._head.header("transfer-encoding") is None

    # httptools

    def on_message_begin(self) -> None:
        self._headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self._head = Head(status, tuple(self._headers), self._parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._complete = self._head is not None


def request_head(target: Target, method: str, **headers: str | int) -> bytes:
    """A request's head; keyword ``content_length=3`` becomes ``content-length: 3``."""
    lines = [f"{method} {target.path} HTTP/1.1", f"host: {target.authority}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _connected(target: Target, buffer_bytes: int | None) -> socket.socket:
    """The receive buffer bounds the window only if it is set before connecting."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    family, kind, proto, _, address = addresses[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        if buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(error: ConnectionError) -> str:
    return "eof" if isinstance(error, BrokenPipeError) else "rst"
