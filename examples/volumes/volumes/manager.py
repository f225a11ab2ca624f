"""Carries requests out. Each is an action of the runtime: from before it is accepted to its end it sees one generation of
settings, drivers and catalogue, whatever is changed meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any

from hitless.live import NotRunning, Runtime, Snapshot, UnknownResource
from volumes.catalog import Catalog, Settled
from volumes.copying import Slots, copied, digest_of
from volumes.driver import Driver, NoSuchVolume, VolumeError
from volumes.orders import Checksum, Copy, Create, Delete, Order, Read, Show, Write, parse
from volumes.settings import Settings

Answer = dict[str, Any]
Tell = Callable[[Answer], Awaitable[None]]
FAILURES = (VolumeError, OSError, EOFError)
"""What storage and catalogue fail with; anything else is a mistake in the program."""


class NoBackend(VolumeError):
    """The settings have no such backend, now."""


class Manager:
    def __init__(self, runtime: Runtime[Settings]) -> None:
        self._runtime = runtime
        self._in_progress: dict[str, asyncio.Event] = {}

    async def handle(self, line: bytes, tell: Tell) -> None:
        """Do what the line asks for, and tell its client how it goes. Raises nothing of what may go wrong with it."""
        request: Answer = {"id": _id_of(line)}
        try:
            order = parse(line)
            async with self._once(order.id), self._runtime.action(f"{order.do} {order.volume}") as generation:
                await Job(generation, order, tell).run()
        except NotRunning:
            await tell(
                request | {"state": "refused", "reason": "NotRunning", "error": "the service is stopping"}
            )
        except VolumeError as error:
            await tell(request | {"state": "refused", "reason": type(error).__name__, "error": str(error)})

    @asynccontextmanager
    async def _once(self, request: str) -> AsyncIterator[None]:
        """A request that is asked again, because its answer was lost, waits for itself: then it has the same answer."""
        while (before := self._in_progress.get(request)) is not None:
            await before.wait()
        ended = self._in_progress[request] = asyncio.Event()
        try:
            yield
        finally:
            del self._in_progress[request]
            ended.set()


class Job:
    """One request, in one generation."""

    def __init__(self, generation: Snapshot[Settings], order: Order, tell: Tell) -> None:
        self._generation = generation
        self._order = order
        self._tell = tell
        self._catalog = generation.get(Catalog)
        self._is_accepted = False

    async def run(self) -> None:
        """Raises VolumeError: the request is not accepted, and nothing has happened."""
        try:
            await self._do()
        except VolumeError as error:
            if not self._is_accepted:
                raise
            await self._say("failed", error=str(error))  # the catalogue, which settles it at the next start

    async def _do(self) -> None:
        if await self._has_ended():
            return
        match self._order:
            case Create() as order:
                await self._create(order)
            case Write() as order:
                await self._write(order)
            case Copy() as order:
                await self._copy(order)
            case Delete() as order:
                await self._delete(order)
            case Read() | Checksum() | Show() as order:
                await self._look(order)

    async def _create(self, order: Create) -> None:
        name = self._backend(order.backend)
        driver = self._driver(name)
        await self._accept(self._catalog.accept_create, order.volume, backend=name, size=order.size)
        try:
            await driver.create(order.volume, order.size)
        except FAILURES as error:
            await self._failed(error, Settled(order.volume, "error", error=str(error)))
        else:
            await self._done(Settled(order.volume, "available"))

    async def _write(self, order: Write) -> None:
        row = await asyncio.to_thread(self._catalog.volume, order.volume)
        driver = self._driver(row.backend)
        if order.offset + len(order.data) > row.size:
            raise VolumeError(
                f"{len(order.data)} bytes at {order.offset} are not in a volume of {row.size} bytes"
            )
        await self._accept(self._catalog.accept_write, order.volume)
        try:
            async with driver.open(order.volume) as volume:
                await volume.write(order.offset, order.data)
                await volume.flush()
        except FAILURES as error:
            await self._failed(error, Settled(order.volume, "error", error=str(error)))
        else:
            await self._done(Settled(order.volume, "available"))

    async def _copy(self, order: Copy) -> None:
        row = await asyncio.to_thread(self._catalog.volume, order.volume)
        name = self._backend(order.backend)
        source, target = self._driver(row.backend), self._driver(name)
        claim = self._catalog.accept_copy
        await self._accept(claim, order.volume, to=order.to, backend=name, size=row.size)
        back = Settled(order.volume, "available", sha256=row.sha256)
        try:
            async with self._generation.get(Slots).one():
                await target.create(order.to, row.size)
                digest = await copied(source, order, target, self._generation.settings.copying)
        except FAILURES as error:
            with suppress(*FAILURES):
                await target.delete(order.to)
            await self._failed(error, back, Settled(order.to, None))
        else:
            both = (Settled(each, "available", sha256=digest) for each in (order.volume, order.to))
            await self._done(*both, sha256=digest)

    async def _delete(self, order: Delete) -> None:
        row = await asyncio.to_thread(self._catalog.volume, order.volume)
        driver = self._driver(row.backend)
        await self._accept(self._catalog.accept_delete, order.volume)
        try:
            with suppress(NoSuchVolume):  # its creation has failed, or an earlier deletion half-way
                await driver.delete(order.volume)
        except FAILURES as error:
            await self._failed(error, Settled(order.volume, "error", error=str(error)))
        else:
            await self._done(Settled(order.volume, None))

    async def _look(self, order: Read | Checksum | Show) -> None:
        row = await asyncio.to_thread(self._catalog.volume, order.volume)
        if isinstance(order, Show):
            return await self._say("done", volume=asdict(row))
        driver = self._driver(row.backend)
        try:
            async with driver.open(order.volume) as volume:
                if isinstance(order, Read):
                    data = await volume.read(order.offset, order.length)
                    return await self._say("done", data=base64.b64encode(data).decode())
                digest = await digest_of(volume, self._generation.settings.copying.chunk)
                return await self._say("done", sha256=digest)
        except FAILURES as error:
            return await self._say("failed", error=str(error))

    # What they share

    def _backend(self, name: str | None) -> str:
        name = name or self._generation.settings.default_backend
        if name is None:
            raise NoBackend("there is no default_backend; name one")
        return name

    def _driver(self, backend: str) -> Driver:
        try:
            driver: Driver = self._generation.get(Driver, backend)
        except UnknownResource:
            known = ", ".join(self._generation.settings.backends) or "none"
            raise NoBackend(f"there is no backend {backend}; there are: {known}") from None
        return driver

    async def _has_ended(self) -> bool:
        """Whether it was asked before: then it is told again how it ended. What it was about may be gone since."""
        found = await asyncio.to_thread(self._catalog.request, self._order.id)
        if found is None or found[0] == "running":
            return False
        await self._say(found[0], **found[1])
        return True

    async def _accept(self, accept: Callable[..., None], volume: str, **more: object) -> None:
        """Accept the request and tell so. Raises VolumeError: it cannot be."""
        await asyncio.to_thread(accept, self._order.id, volume, **more)
        self._is_accepted = True
        await self._say("accepted")

    async def _done(self, *settled: Settled, **result: object) -> None:
        await asyncio.to_thread(self._catalog.end, self._order.id, "done", *settled, answer=result)
        await self._say("done", **result)

    async def _failed(self, error: Exception, *settled: Settled) -> None:
        text = str(error) or type(error).__name__
        await asyncio.to_thread(self._catalog.end, self._order.id, "failed", *settled, answer={"error": text})
        await self._say("failed", error=text)

    async def _say(self, state: str, **more: object) -> None:
        await self._tell({"id": self._order.id, "state": state, **more})


def _id_of(line: bytes) -> object:
    """Of a request that may not be understood."""
    with suppress(ValueError):
        found = json.loads(line)
        return found.get("id") if isinstance(found, dict) else None
    return None
