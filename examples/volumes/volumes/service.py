"""Puts the service together: what there is, and what each part reads. Nothing here says how a change is made."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

from hitless.config import TomlFile
from hitless.live import Each, Needs, Runtime, Setting, StartFailed, Timeouts, Triggers
from volumes.catalog import Catalog
from volumes.copying import Slots
from volumes.directory import Directory
from volumes.doors import Door, door
from volumes.driver import Driver
from volumes.manager import Manager
from volumes.pool import Pool
from volumes.remote import Remote
from volumes.settings import Backend, DirectoryBackend, PoolBackend, Settings, TargetBackend

NAME = "volumes"
log = logging.getLogger(NAME)


def declare(name: str | None = NAME) -> Runtime[Settings]:
    """The runtime of one volume service."""
    runtime = Runtime(Settings, name=name)
    manager = Manager(runtime)

    @runtime.resource(timeouts=Timeouts(close_s=60))
    async def requests(url: Annotated[str, Setting("requests")]) -> AsyncIterator[Door]:
        made = await door(url, manager)
        yield made
        await made.close()

    @runtime.resource
    def catalog(url: Annotated[str, Setting("database")]) -> Iterator[Catalog]:
        made = Catalog(url)
        yield made
        made.close()

    @runtime.resource(per="backends")
    async def driver(backend: Annotated[Backend, Each()]) -> AsyncIterator[Driver]:
        made = _driver(backend)
        await made.check()
        yield made
        await made.close()

    @runtime.resource(name="default")
    def default(driver: Annotated[Driver | None, Needs("driver", key_from="default_backend")]) -> object:
        """There is such a backend, or the change is refused."""
        return driver

    @runtime.resource(update=Slots.update)
    def slots(limit: Annotated[int, Setting("copying.at_once")]) -> Slots:
        return Slots(limit)

    @runtime.on_change("requests")
    async def opened(_old: Settings, _new: Settings) -> None:
        async with runtime.lease(Door) as made:
            await made.open()

    return runtime


def _driver(backend: Backend) -> Driver:
    match backend:
        case DirectoryBackend():
            return Directory(backend.path)
        case PoolBackend():
            return Pool(backend.path, size=backend.size, extent=backend.extent)
        case TargetBackend():
            return Remote(backend.address, connections=backend.connections, timeout_s=backend.timeout)


async def main(config: Path, state_dir: Path | None) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    runtime, ending = declare(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    try:
        await runtime.start(
            TomlFile(config), triggers=Triggers(sighup=True, control=True, state_dir=state_dir)
        )
    except StartFailed as error:
        log.error("%s", error)  # noqa: TRY400 - the message says it all
        return 1
    async with runtime.lease(Catalog) as catalog:
        if left := await asyncio.to_thread(catalog.recover):
            log.warning("requests settled that the service before this one left: %d", left)
    async with runtime.lease(Door) as made:
        await made.open()
    print("ready", flush=True)
    await ending.wait()
    await runtime.stop()
    return 0
