"""A small load balancer, for the demonstration on machines without HAProxy.

It speaks as much of HAProxy's runtime API as a rollout uses, so that one `rollout.yaml` does for both. Requests of one client's
connection go to whichever server has the fewest under way; every one has a connection of its own to the server. It is no
balancer for anything else: it checks no health, and knows no TLS, no upgrades and no limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PIECE: Final = 64 * 1024
"""Bytes."""
FIELDS: Final = (
    "pxname", "svname", "qcur", "qmax", "scur", "smax", "slim", "stot", "status", "weight", "act", "bck", "type", "addr",
)  # fmt: skip
TYPE_OF_A_SERVER: Final = "2"
STATES: Final = {"ready": ("UP", 0), "drain": ("DRAIN", 8), "maint": ("MAINT", 1)}
"""What show stat says, and srv_admin_state."""
STATE_HEAD: Final = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"
)
UNAVAILABLE: Final = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
NO_BODY: Final = (204, 304)


@dataclass(slots=True)
class Server:
    name: str
    host: str
    port: int
    state: str = "ready"
    sessions: int = 0
    total: int = 0


@dataclass(slots=True)
class Balancer:
    """Made by :func:`balancing`."""

    backend: str
    servers: Mapping[str, Server]
    port: int
    socket: Path
    _clients: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # clients

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection: request after request, each to a server of its own."""
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            with suppress(
                ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError
            ):
                while await self._request(reader, writer):
                    pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another one may follow."""
        head = await _head(reader)
        if head is None:
            return False
        server = self._least()
        if server is None:
            writer.write(UNAVAILABLE)
            await writer.drain()
            return False
        server.sessions += 1
        server.total += 1
        try:
            return await _exchange(head, reader, writer, server)
        finally:
            server.sessions -= 1

    def _least(self) -> Server | None:
        ready = [server for server in self.servers.values() if server.state == "ready"]
        return min(ready, key=lambda server: (server.sessions, server.total), default=None)

    # the runtime API

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to the runtime socket: one command."""
        command = (await reader.readline()).decode(errors="replace").strip()
        writer.write(f"{self._said(command)}\n\n".encode())
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    def _said(self, command: str) -> str:
        words = command.split()
        if words[:2] == ["show", "stat"]:
            return "\n".join([f"# {','.join(FIELDS)},", *(self._row(each) for each in self.servers.values())])
        if words[:2] == ["show", "info"]:
            return "Name: hitless-demo\nPid: 1\nUptime_sec: 1\nStart_time_sec: 1"
        if words[:3] == ["show", "servers", "state"]:
            return "\n".join(["1", STATE_HEAD, *(self._state(each) for each in self.servers.values())])
        if words[:2] == ["show", "sess"]:
            return ""
        if words[:2] == ["set", "server"] and words[3:4] == ["state"]:
            return self._set(*words[2:5:2])
        return "Unknown command."

    def _set(self, path: str, state: str) -> str:
        server = self.servers.get(path.removeprefix(f"{self.backend}/"))
        if server is None:
            return "No such server."
        if state not in STATES:
            return "'set server <srv> state' expects 'ready', 'drain' and 'maint'."
        server.state = state
        return ""

    def _state(self, server: Server) -> str:
        return f"1 {self.backend} 1 {server.name} {server.host} 2 {STATES[server.state][1]} 1 1"

    def _row(self, server: Server) -> str:
        values = {
            "pxname": self.backend, "svname": server.name, "qcur": "0", "scur": str(server.sessions),
            "stot": str(server.total), "status": STATES[server.state][0], "weight": "1", "act": "1", "bck": "0",
            "type": TYPE_OF_A_SERVER, "addr": f"{server.host}:{server.port}",
        }  # fmt: skip
        return ",".join(values.get(name, "") for name in FIELDS) + ","

    async def close(self) -> None:
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)


@asynccontextmanager
async def balancing(
    folder: Path, servers: Mapping[str, str], *, port: int, backend: str
) -> AsyncIterator[Balancer]:
    """Listening on the port and on a runtime socket in the folder; `servers` are addresses by name."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: _server(name, address) for name, address in servers.items()}
    balancer = Balancer(backend, found, port, folder / "runtime.sock")
    front = await asyncio.start_server(balancer.serve, "127.0.0.1", port, limit=PIECE)
    runtime = await asyncio.start_unix_server(balancer.answer, balancer.socket)
    try:
        yield balancer
    finally:
        front.close()
        runtime.close()
        await balancer.close()


def _server(name: str, address: str) -> Server:
    host, _, port = address.rpartition(":")
    return Server(name, host, int(port))


@dataclass(frozen=True, slots=True)
class Head:
    """A request's or a response's, as it came."""

    raw: bytes
    first: str
    headers: Mapping[str, str]

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    @property
    def closes(self) -> bool:
        return "close" in self.headers.get("connection", "").lower()


async def _head(reader: asyncio.StreamReader) -> Head | None:
    """The next head; None at the end of the connection."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(raw, first, {name.strip().lower(): value.strip() for name, _, value in pairs})


async def _exchange(
    head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server
) -> bool:
    """Send a request to the server and its response to the client; whether the client may ask again."""
    try:
        down, up = await asyncio.open_connection(server.host, server.port, limit=PIECE)
    except OSError:
        writer.write(UNAVAILABLE)
        await writer.drain()
        return False
    body = asyncio.create_task(_send(head, reader, up))
    try:
        answer = await _head(down)
        if answer is None:
            raise ConnectionResetError(f"{server.name} went away")
        writer.write(answer.raw)
        status = int(answer.first.split()[1])
        if head.first.startswith("HEAD ") or status in NO_BODY:
            await writer.drain()
        else:
            await _body(answer, down, writer)
        is_whole = body.done() and not body.cancelled() and body.exception() is None
        return is_whole and not head.closes and not answer.closes
    finally:
        body.cancel()
        await asyncio.gather(body, return_exceptions=True)
        up.close()


async def _send(head: Head, reader: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
    up.write(head.raw)
    await _body(head, reader, up)


async def _body(head: Head, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Exactly the message's body."""
    if head.is_chunked:
        await _chunks(source, sink)
    else:
        await _bytes(head.length, source, sink)
    await sink.drain()


async def _chunks(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while True:
        line = await source.readuntil(b"\r\n")
        sink.write(line)
        size = int(line.partition(b";")[0], 16)
        await _bytes(
            size + 2, source, sink
        )  # without trailers the last chunk is followed by an empty line as well
        if size == 0:
            return


async def _bytes(count: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while count > 0:
        piece = await source.read(min(count, PIECE))
        if not piece:
            raise ConnectionResetError("the sender went away in the middle")
        count -= len(piece)
        sink.write(piece)
        await sink.drain()
