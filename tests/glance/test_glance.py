"""A rolling upgrade of real Glance, from 27.0.0 to 28.0.1, on three nodes behind HAProxy with MariaDB, while clients use it.

The releases come from the package index, with the libraries of their time (examples/glance/requirements-*.txt). Making their two
venvs takes minutes, so this runs by `make test-glance`; GLANCE_VENVS keeps them between runs.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.servers.databases import mariadb
from tests.servers.mariadb import MariaDB
from tests.servers.ports import free_port

from glance.load import GlanceLoad
from hitless.demo.haproxy import HAProxy, running_haproxy
from hitless.load import RequestFailed, ask

__all__ = ["mariadb"]

pytestmark = [pytest.mark.glance, pytest.mark.timeout(1800)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "glance"
OLD, NEW = "27.0.0", "28.0.1"
START_S = 120.0
LEFT = "SELECT id, status FROM images WHERE status IN ('queued', 'saving', 'uploading', 'importing') AND NOT deleted"


def lay() -> Any:
    spec = importlib.util.spec_from_file_location("glance_lay", EXAMPLE / "lay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Place:
    """Three nodes of the old release that serve."""

    folder: Path
    site: Any
    database: MariaDB
    balancer: HAProxy

    def node(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(EXAMPLE / "node.sh"), str(self.folder / name), *command],
            check=False, capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    async def rollout(self) -> tuple[int, dict[str, Any], str]:
        """Exit code, what it printed, and what it complained of."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hitless", "rollout", "run", "--json"),
            *("-f", str(self.folder / "rollout.yaml"), "--state-dir", str(self.folder / "state")),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await process.communicate()
        return process.returncode or 0, json.loads(out or b"{}"), errors.decode()

    def running(self) -> set[str]:
        return {self.node(name, "running").stdout.strip() for name in lay().NODES}


@pytest.fixture(scope="module")
def venvs() -> Path:
    return Path(os.environ.get("GLANCE_VENVS", "/tmp/hitless-glance-venvs"))


@pytest.fixture
def place(
    request: pytest.FixtureRequest, mariadb: MariaDB, venvs: Path, public_path: Path
) -> Iterator[Place]:
    drains: bool = getattr(request, "param", True)
    module = lay()
    database = f"glance_{os.getpid()}_{int(drains)}"
    mariadb.sql(
        f"CREATE DATABASE {database} CHARACTER SET utf8mb3",
        "CREATE USER IF NOT EXISTS glance@'127.0.0.1' IDENTIFIED BY 'glance'",
        f"GRANT ALL ON {database}.* TO glance@'127.0.0.1'",
    )
    port = free_port()
    network = f"127.0.{2 + int(drains)}"
    site = module.Site(
        public_path, venvs, f"mysql+pymysql://glance:glance@127.0.0.1:{mariadb.port}/{database}",
        mariadb.url(database), public_path / "balancer" / "haproxy.sock" if drains else None, port, network,
    )  # fmt: skip
    site.write()
    servers = {name: f"{site.address(name)}:{port}" for name in module.NODES}
    with running_haproxy(
        public_path / "balancer", servers, port=free_port(), backend="images", health="/healthcheck"
    ) as balancer:
        made = Place(public_path, site, mariadb, balancer)
        try:
            started(made, venvs)
            yield made
        finally:
            for name in module.NODES:
                made.node(name, "kill")
            mariadb.sql(f"DROP DATABASE {database}")


def started(place: Place, venvs: Path) -> None:
    """Both releases are installed, the schema is the old one's, and every node serves."""
    names = lay().NODES
    for release in (NEW, OLD):
        for name in names:
            done = place.node(name, "upgrade", release, str(venvs))
            assert done.returncode == 0, done.stderr
    manage = [
        str(venvs / OLD / "bin" / "glance-manage"),
        "--config-file",
        str(place.folder / "n1" / "glance-api.conf"),
    ]
    subprocess.run([*manage, "db", "sync"], check=True, capture_output=True, timeout=300)
    for name in names:
        assert place.node(name, "start").returncode == 0
    asyncio.run(healthy(place))
    assert place.running() == {OLD}


async def healthy(place: Place) -> None:
    deadline = time.monotonic() + START_S
    for name in lay().NODES:
        while True:
            try:
                await ask(f"http://{place.site.address(name)}:{place.site.port}/healthcheck")
                break
            except (RequestFailed, TimeoutError):
                assert time.monotonic() < deadline, (place.folder / name / "glance-api.out").read_text()[
                    -2000:
                ]
                await asyncio.sleep(0.2)


async def upgraded(place: Place) -> tuple[GlanceLoad, list[tuple[object, ...]]]:
    """The rollout under load; the images that are neither whole nor gone afterwards."""
    async with GlanceLoad(place.balancer.url, clients=6, uploads=3, upload_s=8.0) as load:
        await load.load.warm(60)
        code, report, errors = await place.rollout()
        assert code == 0, f"{report} {errors}"
        await load.stop()
    assert place.running() == {NEW}
    return load, place.database.sql(LEFT, database=place.site.owner.rpartition("/")[2])


async def test_glance_is_upgraded_on_three_nodes_and_no_client_notices(place: Place) -> None:
    load, left = await upgraded(place)
    assert not load.failures
    assert load.cycles > 50
    assert load.uploads >= 3
    assert not left
    assert place.database.sql(
        "SELECT version_num FROM alembic_version", database=place.site.owner.rpartition("/")[2]
    ) == [("2024_1_contract01",)]


@pytest.mark.parametrize("place", [False], indirect=True)
async def test_without_draining_the_same_upgrade_loses_requests(place: Place) -> None:
    """The control: what the test above asserts can fail."""
    load, left = await upgraded(place)
    assert load.failures
    assert left
