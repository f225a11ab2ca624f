"""Where requests come in: a socket on which clients write lines of JSON, many requests at a time, and read the answers."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from volumes.manager import Answer, Manager

LONGEST_LINE = 8 * 1024 * 1024
AT_ONCE = 256
"""Requests of one client in progress; it is read on when one has ended."""


class Door(ABC):
    """Made closed: what it listens on is its own already, and so a change that names another's is refused."""

    @abstractmethod
    async def open(self) -> None:
        """Let requests in; again does nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Let no more in, and finish those that are."""


async def door(url: str, manager: Manager) -> Door:
    """The door at `unix:PATH`, `tcp:HOST:PORT` or `amqp://…`.

    Raises:
        OSError: it cannot be had.
        ValueError: the URL is none of these.
    """
    kind, _, rest = url.partition(":")
    if kind == "amqp":
        try:
            from volumes.amqp import AmqpDoor
        except ModuleNotFoundError as error:
            raise ValueError(f"amqp needs {error.name}; install it: pip install kombu") from error
        return await AmqpDoor.connected(url, manager)
    made = SocketDoor(manager)
    if kind == "unix":
        server = await asyncio.start_unix_server(
            made.connected, rest, limit=LONGEST_LINE, start_serving=False
        )
        Path(rest).chmod(0o600)
    elif kind == "tcp":
        host, _, port = rest.rpartition(":")
        server = await asyncio.start_server(
            made.connected, host, int(port), limit=LONGEST_LINE, start_serving=False
        )
    else:
        raise ValueError(f"requests cannot come from {url!r}; give unix:PATH, tcp:HOST:PORT or amqp://…")
    made.server = server
    return made


class SocketDoor(Door):
    server: asyncio.Server

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._clients: set[Client] = set()

    async def open(self) -> None:
        await self.server.start_serving()

    async def close(self) -> None:
        self.server.close()
        await asyncio.gather(*(client.finish() for client in list(self._clients)))

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(self._manager, reader, writer)
        self._clients.add(client)
        try:
            await client.serve()
        finally:
            self._clients.discard(client)


class Client:
    """One connection. A client that goes does not stop what it has asked for."""

    def __init__(self, manager: Manager, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._manager = manager
        self._reader = reader
        self._writer = writer
        self._free = asyncio.Semaphore(AT_ONCE)
        self._requests: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    async def serve(self) -> None:
        self._reading = asyncio.create_task(self._read())
        await asyncio.wait({self._reading})
        if self._requests:
            await asyncio.wait(self._requests)
        self._writer.close()
        self._ended.set()

    async def finish(self) -> None:
        """Read no more requests, and return when those that were read are answered."""
        if self._reading is not None:
            self._reading.cancel()
            await self._ended.wait()

    async def _read(self) -> None:
        with suppress(ConnectionError, ValueError):  # ValueError: a line that is too long
            while line := await self._reader.readline():
                await self._free.acquire()
                task = asyncio.create_task(self._manager.handle(line, self._tell))
                self._requests.add(task)
                task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        self._free.release()

    async def _tell(self, answer: Answer) -> None:
        with suppress(ConnectionError):
            self._writer.write(json.dumps(answer).encode() + b"\n")
            await self._writer.drain()
