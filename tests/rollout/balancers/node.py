"""Nodes of a service, as small as can be: each answers when the test says so, on its own address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.servers.ports import free_port

WAIT_S = 60.0


@dataclass(slots=True)
class Node:
    """Answers `GET /` with its name at once, and `GET /held` when `release` is set."""

    name: str
    address: str
    port: int
    held: int = 0
    requests: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def where(self) -> str:
        return f"{self.address}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                if b"/held" in head:
                    async with self.arrived:
                        self.held += 1
                        self.arrived.notify_all()
                    await self.release.wait()
                    self.held -= 1
                body = self.name.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        writer.close()
        self.open.discard(writer)

    async def until_held(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S), self.arrived:
            await self.arrived.wait_for(lambda: self.held >= count)


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[Node]]:
    """n1, n2, … on 127.0.1.1, 127.0.1.2, …"""
    port = free_port()
    found = [Node(f"n{each}", f"127.0.1.{each}", port) for each in range(1, count + 1)]
    servers = [await asyncio.start_server(each.serve, each.address, port) for each in found]
    try:
        yield found
    finally:
        for node in found:
            node.release.set()
            for writer in list(node.open):
                writer.close()
        for server in servers:
            server.close()


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, path: str = "/") -> str:
        """The name of the node that answers."""
        async with asyncio.timeout(WAIT_S):
            self._writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await self._reader.readuntil(b"\r\n\r\n")
            size = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            body = await self._reader.readexactly(size)
        assert head.startswith(b"HTTP/1.1 200"), head
        return body.decode()
