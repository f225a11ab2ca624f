"""The processes of the volume service's demonstration: the service itself, and storage targets."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.demo.place import example
from hitless.demo.service import Service, ServiceFailed, clean_environ, end

EXAMPLE: Final = "volumes"
READY_S: Final = 30.0
CLOSED_S: Final = 30.0
CLEAN: Final = "logout"
"""How a connection ends that was closed as it should be: logged out, then FIN."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One that a target has seen."""

    portal: str
    ended: str | None
    """None while it is open."""


class Target:
    """A storage target that runs, and what it tells of its connections."""

    def __init__(self, process: asyncio.subprocess.Process, portals: Sequence[str], store: Path) -> None:
        self.process: Final = process
        self.portals: Final = tuple(portals)
        self.store: Final = store
        self.connections: Final[dict[int, Connection]] = {}
        """Every one there has been, by number."""
        self._changed: Final = asyncio.Condition()
        self._reading: Final = asyncio.create_task(self._read(process))

    def to(self, portal: str) -> list[Connection]:
        """The connections to a portal."""
        return [each for each in self.connections.values() if each.portal == portal]

    def torn(self) -> list[Connection]:
        """The connections that ended otherwise than they should."""
        return [each for each in self.connections.values() if each.ended not in (None, CLEAN)]

    async def seen(self, connections: int, timeout_s: float = CLOSED_S) -> None:
        """Until there have been so many.

        Raises:
            TimeoutError: there have not.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.connections) >= connections)

    async def closed(self, portal: str, timeout_s: float = CLOSED_S) -> None:
        """Until every connection to the portal has ended.

        Raises:
            TimeoutError: one is still open.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: all(each.ended for each in self.to(portal)))

    async def ended(self) -> None:
        """All that it had to tell has been read. The process must have ended, or been told to."""
        await self._reading

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            entry = json.loads(line)
            number = entry["connection"]
            portal = entry.get("portal") or self.connections[number].portal
            self.connections[number] = Connection(portal, entry.get("ended"))
            async with self._changed:
                self._changed.notify_all()


@asynccontextmanager
async def target(folder: Path, *, portals: int) -> AsyncIterator[Target]:
    """A target whose volumes are in `folder`/store, with so many portals on free ports; on leaving it has ended.

    Raises:
        ServiceFailed: it did not start.
    """
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    words = ["-m", "volumes.target", "--store", str(store), "--record", "-"]
    words += ["--portal", "127.0.0.1:0"] * portals
    async with _program(words, folder, log=folder / "target.log") as (process, said):
        made = Target(process, said, store)
        yield made
    await made.ended()


@asynccontextmanager
async def volume_service(config: Path) -> AsyncIterator[Service]:
    """The volume service with this configuration, its control socket and journal beside that; on leaving it has ended.

    Raises:
        ServiceFailed: it did not start.
    """
    folder, log = config.parent, config.with_suffix(".log")
    words = ["-m", "volumes", str(config), "--state-dir", str(folder / "state")]
    async with _program(words, folder, log=log) as (process, _):
        yield Service("volumes", process, _environ(folder), log)


@asynccontextmanager
async def _program(
    words: Sequence[str], folder: Path, *, log: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """A program of the example that says `ready` and perhaps more when it is; its process, and what more it said."""
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *words),
            cwd=folder,
            env=_environ(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
            start_new_session=True,  # Ctrl-C in a terminal is for us, who end it in order
        )
    try:
        yield process, await _ready(process, log)
    finally:
        await asyncio.shield(end(process))


async def _ready(process: asyncio.subprocess.Process, log: Path) -> list[str]:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            first, *more = (await process.stdout.readline()).decode().split() or [""]
    except TimeoutError:
        first, more = "", []
    if first != "ready":
        raise ServiceFailed(f"the program did not become ready: {log.read_text(errors='replace')[-2000:]}")
    return more


def _environ(folder: Path) -> Mapping[str, str]:
    return clean_environ(folder) | {"PYTHONPATH": str(example(EXAMPLE))}
