"""Copies of volumes, and how many of them go on at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from volumes.driver import Driver, Volume, VolumeError
from volumes.orders import Copy
from volumes.settings import Copying


class Slots:
    """How many copies go on at once; more wait for one to end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._changed = asyncio.Condition()

    async def update(self, limit: int) -> None:
        """Changed in place: copies that go on go on, and those that wait see the new limit."""
        async with self._changed:
            self._limit = limit
            self._changed.notify_all()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: self._taken < self._limit)
            self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            async with self._changed:
                self._changed.notify_all()


async def copied(source: Driver, order: Copy, target: Driver, copying: Copying) -> str:
    """Copy the content, and compare; its SHA-256.

    Raises:
        VolumeError: the copy does not hold what was written.
    """
    digest, clock = hashlib.sha256(), asyncio.get_running_loop().time
    async with source.open(order.volume) as old, target.open(order.to) as new:
        began, offset = clock(), 0
        while offset < old.size:
            data = await old.read(offset, min(copying.chunk, old.size - offset))
            digest.update(data)
            await new.write(offset, data)
            offset += len(data)
            if copying.bytes_per_s:
                await asyncio.sleep(began + offset / copying.bytes_per_s - clock())
        await new.flush()
        if await digest_of(new, copying.chunk) != digest.hexdigest():
            raise VolumeError(f"volume {order.to} does not hold what was written to it")
    return digest.hexdigest()


async def digest_of(volume: Volume, chunk: int) -> str:
    digest = hashlib.sha256()
    for offset in range(0, volume.size, chunk):
        digest.update(await volume.read(offset, min(chunk, volume.size - offset)))
    return digest.hexdigest()
