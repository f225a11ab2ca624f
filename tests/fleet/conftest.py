from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.servers.databases import mariadb, postgres
from tests.servers.mariadb import MariaDB
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres

from hitless.demo.fleet import BACKEND, Fleet, Timing
from hitless.demo.fleet_load import FleetLoad
from hitless.demo.haproxy import HAProxy, running_haproxy
from hitless.schema import Phases, read_settings
from hitless.schema.database import read_url

__all__ = ["mariadb", "postgres"]

COUNT = itertools.count()


@dataclass(slots=True)
class Place:
    """Nodes of release 1 behind HAProxy, on a database of their own."""

    fleet: Fleet
    balancer: HAProxy
    sql: Callable[[str], Any]
    rollouts: list[dict[str, Any]] = field(default_factory=list)

    async def rollout(self, release: str, *, soak: float = 1.0, drained: bool = True) -> dict[str, Any]:
        """`hitless rollout run`; what it printed. Fails if it did not exit with 0."""
        path = self.fleet.write_rollout(self.balancer.socket, Timing(soak=soak))
        if not drained:
            lines = path.read_text().splitlines(keepends=True)
            path.write_text(
                "".join(each for each in lines if not each.startswith(("balancers:", "  front:")))
            )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hitless", "rollout", "run", "--json", "--release", release),
            *("-f", str(path), "--state-dir", str(self.fleet.root / "state")),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await process.communicate()
        assert process.returncode == 0, f"{out.decode()} {errors.decode()} {self.fleet.tail()}"
        self.rollouts.append(json.loads(out))
        return self.rollouts[-1]

    def phases(self, release: str) -> Phases:
        path = self.fleet.settings(release)
        return Phases(read_settings(path, {}).settings, path.parent)

    def load(self, *, upload_s: float, clients: int = 6) -> FleetLoad:
        return FleetLoad(
            self.balancer.url,
            clients=clients,
            think=(0.05, 0.4),
            uploads=3,
            upload_s=upload_s,
            timeout_s=60.0,
        )


Make = Callable[[str], AbstractAsyncContextManager[Place]]


@pytest.fixture
def make_place(request: pytest.FixtureRequest, public_path: Path) -> Iterator[Make]:
    drops: list[Callable[[], object]] = []

    def database(kind: str) -> tuple[str, Callable[[str], Any]]:
        if kind == "sqlite":
            return f"sqlite:///{public_path}/images.db", lambda _: None
        server: Postgres | MariaDB = request.getfixturevalue(kind)
        name = f"fleet_{os.getpid()}_{next(COUNT)}"
        server.sql(f"CREATE DATABASE {name}")
        force = " WITH (FORCE)" if kind == "postgres" else ""
        drops.append(lambda: server.sql(f"DROP DATABASE {name}{force}"))
        return server.url(name), lambda query: server.sql(query, database=name)

    @asynccontextmanager
    async def make(kind: str) -> AsyncIterator[Place]:
        url, sql = database(kind)
        url = read_url(url).render_as_string(hide_password=False)
        fleet = Fleet(public_path, url, port=free_port())
        try:
            await fleet.prepare()
            path = fleet.settings("1")
            await asyncio.to_thread(Phases(read_settings(path, {}).settings, path.parent).expand, "1")
            await fleet.start()
            servers = {node.name: f"{node.address}:{node.port}" for node in fleet.nodes}
            with running_haproxy(
                public_path / "balancer", servers, port=free_port(), backend=BACKEND
            ) as balancer:
                yield Place(fleet, balancer, sql)
        finally:
            await fleet.close()

    yield make
    for drop in drops:
        drop()
