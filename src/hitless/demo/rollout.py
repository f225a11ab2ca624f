"""A rolling upgrade: the image store on three nodes and one database is brought to its next release, whose contract removes
what only the old release needed, while clients create, upload, change, download and delete."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hitless.demo.narrator import Narrator
from hitless.demo.place import temporary
from hitless.demo.report import DemoReport, StepReport
from hitless.demo.service import ServiceFailed
from hitless.load import RequestFailed

TITLE: Final = "hitless demo rollout: three nodes and their database are upgraded while clients write"
NEEDED: Final = ("sqlalchemy", "alembic", "yaml", "httpx")
OLD, NEW = "1", "2"
CLIENTS: Final = 6
THINK: Final = (0.02, 0.4)
UPLOADS: Final = 2
UPLOAD_S: Final = 2.0
WARM_S: Final = 30.0
ENOUGH: Final = 100
"""Requests before the upgrade begins: images that only the old release has written."""


def missing() -> str | None:
    """What of `hitless[schema,rollout]` is not installed."""
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return (
        f"{lacking[0]} is missing; install it with: pip install 'hitless[schema,rollout]'"
        if lacking
        else None
    )


async def play(narrator: Narrator) -> DemoReport:
    """Run it all, in a temporary folder, on SQLite."""
    with temporary() as folder:
        job = Job(folder, narrator)
        async with AsyncExitStack() as stack:
            await job.run(stack)
        return DemoReport("rollout", tuple(job.steps))


@dataclass(slots=True)
class Job:
    """The steps, in order."""

    folder: Path
    narrator: Narrator
    steps: list[StepReport] = field(default_factory=list)

    async def run(self, stack: AsyncExitStack) -> None:
        from hitless.demo.fleet_load import FleetLoad

        self.narrator.began("start", f"release {OLD} on three nodes, behind a balancer, under load")
        try:
            fleet, balancer = await self._start(stack)
            load = FleetLoad(balancer.url, clients=CLIENTS, think=THINK, uploads=UPLOADS, upload_s=UPLOAD_S)
            await stack.enter_async_context(load)
            await load.load.warm(WARM_S)
            await load.load.more(ENOUGH)
        except (ServiceFailed, RequestFailed, OSError, TimeoutError) as error:
            self._end(StepReport("start", f"not serving: {error}", as_expected=False))
            return
        self._seen("start", "serving", load)
        await self._upgrade(fleet, balancer, load)
        await self._check(load)

    async def _start(self, stack: AsyncExitStack) -> tuple[Any, Any]:
        from hitless.demo.fleet import Fleet
        from hitless.schema import Phases, read_settings

        port, front = _free_port(), _free_port()
        fleet = Fleet(self.folder, f"sqlite:///{self.folder}/images.db", port=port)
        stack.push_async_callback(fleet.close)
        await fleet.prepare()
        path = fleet.settings(OLD)
        phases = Phases(read_settings(path, {}).settings, path.parent)
        await asyncio.to_thread(phases.expand, OLD)
        await fleet.start()
        servers = {node.name: f"{node.address}:{node.port}" for node in fleet.nodes}
        balancer = await stack.enter_async_context(_balancer(self.folder / "b", servers, front))
        self.narrator.said(f"{', '.join(servers.values())} behind {balancer.url} ({type(balancer).__name__})")
        return fleet, balancer

    async def _upgrade(self, fleet: Any, balancer: Any, load: Any) -> None:
        self.narrator.began("upgrade", f"hitless rollout run --release {NEW}")
        load.load.step("upgrade")
        path = fleet.write_rollout(balancer.socket)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hitless", "rollout", "run", "--events", "--release", NEW),
            *("-f", str(path), "--state-dir", str(self.folder / "state")),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            errors = asyncio.create_task(process.stderr.read())
            async for line in process.stdout:
                self._tell(line)
            complaint = (await errors).decode(errors="replace").strip()
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code:
            self.narrator.said(complaint)
        running = sorted(set((await fleet.releases()).values())) if code == 0 else []
        outcome = (
            f"release {', '.join(running)} on {len(fleet.nodes)} nodes, contracted" if running else complaint
        )
        self._seen("upgrade", outcome, load, as_expected=running == [NEW])

    async def _check(self, load: Any) -> None:
        """Everything that was acknowledged is there, and nothing else."""
        self.narrator.began("check", "compare what is there with every acknowledged write")
        load.load.step("check")
        await load.stop()
        try:
            images = await load.check()
            outcome = f"{images} images, {load.book.writes} writes, {load.uploads} long uploads"
        except (RequestFailed, TimeoutError) as error:
            outcome = f"cannot be read: {error}"
        for each in load.failures():
            self.narrator.said(f"failed: {each}")
        self._seen(
            "check",
            outcome,
            load,
            more=len(load.cut) + len(load.book.wrong),
            as_expected=load.book.writes > 0,
        )

    def _tell(self, line: bytes) -> None:
        """What an event of the runner says, to people."""
        said = json.loads(line)
        if said["name"] == "step.done":
            self.narrator.said(f"{said['fields']['step']}: {said['fields']['note']}")

    def _seen(self, name: str, outcome: str, load: Any, *, more: int = 0, as_expected: bool = True) -> None:
        seen = load.load.stats(name)
        self._end(
            StepReport(
                name, outcome, requests=seen.requests, failed=seen.failed + more,
                closed_by_server=seen.closed_by_server, max_ms=seen.latency.max_ms, as_expected=as_expected,
            )
        )  # fmt: skip

    def _end(self, step: StepReport) -> None:
        self.steps.append(step)
        self.narrator.ended(step)


@asynccontextmanager
async def _balancer(folder: Path, servers: dict[str, str], port: int) -> AsyncIterator[Any]:
    """HAProxy if it is installed, else our own."""
    from hitless.demo.balancer import balancing
    from hitless.demo.fleet import BACKEND
    from hitless.demo.haproxy import installed, running_haproxy

    if installed() is not None:
        with running_haproxy(folder, servers, port=port, backend=BACKEND) as haproxy:
            yield haproxy
    else:
        async with balancing(folder, servers, port=port, backend=BACKEND) as own:
            yield own


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
