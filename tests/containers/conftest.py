"""Private engines, one of each kind for the whole run, and what a test needs around them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.containers.engines import KINDS, PrivateEngine, bridged, missing, private
from tests.containers.hitless_cli import Operator

pytestmark = pytest.mark.root


@pytest.fixture(scope="session")
def docker() -> Iterator[PrivateEngine]:
    yield from started("docker")


@pytest.fixture(scope="session")
def podman() -> Iterator[PrivateEngine]:
    yield from started("podman")


def started(kind: str) -> Iterator[PrivateEngine]:
    import os

    lacks = missing(kind)
    if lacks and os.geteuid() != 0:
        pytest.skip(lacks)
    assert lacks is None, lacks
    with private(kind) as engine:
        yield engine


@pytest.fixture(scope="session")
def bridged_docker() -> Iterator[PrivateEngine]:
    with bridged("docker") as engine:
        yield engine


@pytest.fixture(scope="session")
def bridged_podman() -> Iterator[PrivateEngine]:
    with bridged("podman") as engine:
        yield engine


@pytest.fixture(params=KINDS)
def networked(request: pytest.FixtureRequest) -> PrivateEngine:
    """Either engine with networks of its own."""
    return request.getfixturevalue(f"bridged_{request.param}")


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest) -> PrivateEngine:
    """Either engine, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def name() -> str:
    """A container's name that no other test has."""
    return f"c{uuid.uuid4().hex[:10]}"


@pytest.fixture(autouse=True)
def run_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Control sockets of the test's own, in a folder whose name is short."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="hcr-", dir="/tmp"))
    monkeypatch.setenv("HITLESS_RUN_DIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def operator(engine: PrivateEngine, tmp_path: Path) -> Operator:
    tmp_path.chmod(0o755)
    return Operator(engine, tmp_path)
