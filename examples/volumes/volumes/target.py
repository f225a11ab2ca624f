"""A storage target: volumes in a directory, served over TCP on one or more portals (addresses).

    python -m volumes.target --store DIR --portal 127.0.0.1:3260 [--portal …] [--record FILE]

It says `ready HOST:PORT …` when it listens. Into the record (`-`: to its output) it writes a line of JSON for each connection
that begins, and one that says how it ended:

    logout    the initiator logged out, then closed its side (FIN)
    eof       it closed its side (FIN) without having logged out
    reset     the connection was cut (RST)
    broken    it did not keep to the protocol
    stopped   the target ended first
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import TextIO

from volumes import wire
from volumes.directory import Directory
from volumes.driver import NoSuchVolume, Volume, VolumeError, VolumeExists
from volumes.wire import Operation, Status

STATUS_OF = {NoSuchVolume: Status.NO_SUCH_VOLUME, VolumeExists: Status.EXISTS}


class Record:
    """What became of every connection."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._last = 0

    def began(self, portal: str, peer: str) -> int:
        self._last += 1
        self._write(connection=self._last, portal=portal, peer=peer)
        return self._last

    def ended(self, connection: int, how: str, requests: int) -> None:
        self._write(connection=connection, ended=how, requests=requests)

    def _write(self, **fields: object) -> None:
        self._file.write(json.dumps(fields) + "\n")
        self._file.flush()


class Target:
    def __init__(self, store: Directory, record: Record) -> None:
        self._store = store
        self._record = record
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> str:
        """Serve on this address too; the address, with the port that port 0 became."""
        server = await asyncio.start_server(self._connected, host, port)
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        portal, peer = ("{}:{}".format(*writer.get_extra_info(each)[:2]) for each in ("sockname", "peername"))
        number = self._record.began(portal, peer)
        session, how = Session(self._store, reader, writer), "stopped"
        try:
            how = await session.run()
        except asyncio.CancelledError:
            """The target ends, and with it this task."""
        finally:
            self._serving.discard(task)
            self._record.ended(number, how, session.requests)
            writer.close()


class Session:
    """One connection of an initiator."""

    def __init__(self, store: Directory, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._store = store
        self._reader = reader
        self._writer = writer
        self._open: dict[int, tuple[Volume, AsyncExitStack]] = {}
        self._last_handle = 0
        self.requests = 0

    async def run(self) -> str:
        """Answer requests until the connection ends; how it did."""
        try:
            self._writer.write(wire.GREETING)
            while await self._answered():
                self.requests += 1
            return "broken" if await self._reader.read(1) else "logout"
        except asyncio.IncompleteReadError as error:
            return "broken" if error.partial else "eof"
        except ConnectionError:
            return "reset"
        except ValueError:
            return "broken"
        finally:
            for _, stack in self._open.values():
                await stack.aclose()

    async def _answered(self) -> bool:
        """Answer one request; whether there may be more."""
        head = wire.REQUEST.unpack(await self._reader.readexactly(wire.REQUEST.size))
        operation, handle, length, offset = Operation(head[0]), *head[1:]
        if length > wire.LARGEST:
            raise ValueError(f"{length} bytes in one request")
        has_payload = operation in (Operation.CREATE, Operation.DELETE, Operation.OPEN, Operation.WRITE)
        payload = await self._reader.readexactly(length) if has_payload else b""
        try:
            status, reply = Status.DONE, await self._do(operation, handle, length, offset, payload)
        except VolumeError as error:
            status, reply = STATUS_OF.get(type(error), Status.REFUSED), str(error).encode()
        except OSError as error:
            status, reply = Status.FAILED, str(error).encode()
        self._writer.write(wire.REPLY.pack(status, len(reply)) + reply)
        await self._writer.drain()
        return operation is not Operation.LOGOUT

    async def _do(self, operation: Operation, handle: int, length: int, offset: int, payload: bytes) -> bytes:
        match operation:
            case Operation.CREATE:
                await self._store.create(_name(payload), offset)
            case Operation.DELETE:
                await self._store.delete(_name(payload))
            case Operation.OPEN:
                return await self._opened(_name(payload))
            case Operation.READ:
                return await self._volume(handle).read(offset, length)
            case Operation.WRITE:
                await self._volume(handle).write(offset, payload)
            case Operation.FLUSH:
                await self._volume(handle).flush()
            case Operation.CLOSE:
                self._volume(handle)
                await self._open.pop(handle)[1].aclose()
        return b""

    async def _opened(self, volume: str) -> bytes:
        async with AsyncExitStack() as stack:
            opened = await stack.enter_async_context(self._store.open(volume))
            self._last_handle = (self._last_handle + 1) % 0x10000
            self._open[self._last_handle] = opened, stack.pop_all()
        return wire.OPENED.pack(self._last_handle, opened.size)

    def _volume(self, handle: int) -> Volume:
        if handle not in self._open:
            raise VolumeError(f"no volume is open as {handle}")
        return self._open[handle][0]


def _name(payload: bytes) -> str:
    return payload.decode(errors="replace")


async def serve(
    store: Path, portals: Sequence[str], record: TextIO, until: Callable[[], Awaitable[object]]
) -> None:
    """Serve until `until` returns.

    Raises:
        OSError: a portal cannot be had, or the store is no directory.
    """
    directory = Directory(store)
    await directory.check()
    target = Target(directory, Record(record))
    try:
        addresses = [
            await target.listen(host, int(port))
            for host, _, port in (portal.rpartition(":") for portal in portals)
        ]
        print("ready", *addresses, flush=True)
        await until()
    finally:
        await target.close()


async def main(store: Path, portals: Sequence[str], record: TextIO) -> None:
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await serve(store, portals, record, ending.wait)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="volumes.target", description="A storage target.")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--portal", action="append", default=[], help="HOST:PORT; several times for several")
    parser.add_argument("--record", default="/dev/null")
    given = parser.parse_args()
    with nullcontext(sys.stdout) if given.record == "-" else open(given.record, "a") as file:
        asyncio.run(main(given.store, given.portal or ["127.0.0.1:3260"], file))
