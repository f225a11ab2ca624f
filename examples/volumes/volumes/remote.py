"""A backend on a storage target, with connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from volumes import wire
from volumes.driver import Driver, NoSuchVolume, Volume, VolumeError, VolumeExists
from volumes.wire import Operation, Status

ERROR_OF = {
    Status.NO_SUCH_VOLUME: NoSuchVolume,
    Status.EXISTS: VolumeExists,
    Status.REFUSED: VolumeError,
    Status.FAILED: OSError,
}


class Remote(Driver):
    """Keeps up to `connections` connections; more are opened while they are needed, so that nobody waits for another."""

    def __init__(self, address: str, *, connections: int, timeout_s: float) -> None:
        self._address = address
        self._connections = connections
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []
        self._is_closed = False

    async def check(self) -> None:
        """Open the connections that are kept: a target that cannot be reached is found now, not by the first user."""
        try:
            while len(self._idle) < self._connections:
                self._idle.append(await Connection.to(self._address, self._timeout_s))
        except BaseException:
            await self.close()
            raise

    async def create(self, volume: str, size: int) -> None:
        async with self._connection() as connection:
            await connection.call(Operation.CREATE, offset=size, payload=volume.encode())

    async def delete(self, volume: str) -> None:
        async with self._connection() as connection:
            await connection.call(Operation.DELETE, payload=volume.encode())

    @asynccontextmanager
    async def open(self, volume: str) -> AsyncIterator[Volume]:
        async with self._connection() as connection:
            handle, size = wire.OPENED.unpack(await connection.call(Operation.OPEN, payload=volume.encode()))
            try:
                yield RemoteVolume(connection, handle, size)
            finally:
                if not connection.is_broken:
                    await connection.call(Operation.CLOSE, handle=handle)

    async def close(self) -> None:
        self._is_closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close() for connection in idle))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = await self._taken()
        try:
            yield connection
        finally:
            if connection.is_broken or self._is_closed or len(self._idle) >= self._connections:
                await connection.close()
            else:
                self._idle.append(connection)

    async def _taken(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_broken:
                return connection
            await connection.close()  # the target has closed it
        return await Connection.to(self._address, self._timeout_s)


class Connection:
    """One connection, used by one volume at a time."""

    def __init__(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float
    ) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s
        self._is_broken = False

    @classmethod
    async def to(cls, address: str, timeout_s: float) -> Connection:
        """Raises OSError: nobody listens there, or it is no target."""
        connecting = asyncio.ensure_future(cls._to(address, timeout_s))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # Of this one too we log out: closed before the greeting is read, the target would see a reset.
            with suppress(OSError):
                await (await connecting).close()
            raise

    @classmethod
    async def _to(cls, address: str, timeout_s: float) -> Connection:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    greeting = await reader.readexactly(len(wire.GREETING))
                except BaseException:
                    writer.close()
                    raise
        except TimeoutError:
            raise TimeoutError(f"no target answers at {address} within {timeout_s:g} s") from None
        except OSError as error:
            raise ConnectionError(f"cannot connect to {address}: {error.strerror or error}") from None
        except asyncio.IncompleteReadError:
            raise ConnectionError(f"what listens at {address} closed the connection") from None
        if greeting != wire.GREETING:
            writer.close()
            raise ConnectionError(f"what listens at {address} is no storage target")
        return cls(address, reader, writer, timeout_s)

    @property
    def is_broken(self) -> bool:
        """Whether it is of no more use."""
        return self._is_broken or self._reader.at_eof()

    async def call(
        self,
        operation: Operation,
        *,
        handle: int = 0,
        offset: int = 0,
        length: int = 0,
        payload: bytes = b"",
    ) -> bytes:
        """The target's answer.

        Raises:
            VolumeError, OSError: as it says; ConnectionError, TimeoutError: there is none.
        """
        was_broken, self._is_broken = self.is_broken, True  # until the whole answer is here
        if was_broken:
            raise ConnectionError(f"the connection to {self._address} is broken")
        try:
            async with asyncio.timeout(self._timeout_s):
                head = wire.REQUEST.pack(operation, handle, len(payload) or length, offset)
                self._writer.write(head + payload)
                await self._writer.drain()
                status, size = wire.REPLY.unpack(await self._reader.readexactly(wire.REPLY.size))
                reply = await self._reader.readexactly(size)
        except TimeoutError:
            raise TimeoutError(f"{self._address} did not answer within {self._timeout_s:g} s") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ConnectionError(f"{self._address} broke the connection: {error}") from None
        self._is_broken = False
        if status != Status.DONE:
            raise ERROR_OF[Status(status)](reply.decode(errors="replace"))
        return reply

    async def close(self) -> None:
        """Log out if that can be done, and close: our side first, so that the target sees a FIN."""
        with suppress(OSError):
            if not self.is_broken:
                await self.call(Operation.LOGOUT)
        self._writer.close()
        with suppress(OSError):
            async with asyncio.timeout(self._timeout_s):
                await self._writer.wait_closed()


class RemoteVolume(Volume):
    def __init__(self, connection: Connection, handle: int, size: int) -> None:
        self._connection = connection
        self._handle = handle
        self.size = size

    async def read(self, offset: int, length: int) -> bytes:
        self.check_range(offset, length)
        return await self._connection.call(Operation.READ, handle=self._handle, offset=offset, length=length)

    async def write(self, offset: int, data: bytes) -> None:
        self.check_range(offset, len(data))
        await self._connection.call(Operation.WRITE, handle=self._handle, offset=offset, payload=data)

    async def flush(self) -> None:
        await self._connection.call(Operation.FLUSH, handle=self._handle)
