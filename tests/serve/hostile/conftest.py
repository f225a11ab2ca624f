"""One run of the whole corpus against each server, shared by the tests that look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.hostile.corpus import CASES, HANDSHAKES
from serve.hostile.encounter import Encounter, meet
from serve.hostile.peers import gunicorn, peer, place_recorder, uvicorn
from serve.service import Service, running

Encounters = dict[str, Encounter]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def _ours(folder: Path, kind: str) -> Iterator[tuple[Service, Path]]:
    record = place_recorder(folder / kind)
    with running(
        folder / kind,
        name=kind,
        app=f"app:{kind}",
        interface=kind,
        threads=64,
        env={"RECORD": str(record)},
    ) as service:
        yield service, record


@pytest.fixture(scope="session")
def asgi(folder: Path) -> Iterator[tuple[Service, Path]]:
    yield from _ours(folder, "asgi")


@pytest.fixture(scope="session")
def wsgi(folder: Path) -> Iterator[tuple[Service, Path]]:
    yield from _ours(folder, "wsgi")


@pytest.fixture(scope="session")
def met_by_asgi(asgi: tuple[Service, Path]) -> Encounters:
    service, record = asgi
    return asyncio.run(meet(service.address, (*CASES, *HANDSHAKES), record))


@pytest.fixture(scope="session")
def met_by_wsgi(wsgi: tuple[Service, Path]) -> Encounters:
    service, record = wsgi
    return asyncio.run(meet(service.address, CASES, record))


@pytest.fixture(scope="session")
def met_by_uvicorn(folder: Path) -> Encounters:
    record = place_recorder(folder / "uvicorn")
    with peer(folder / "uvicorn", *uvicorn(folder)) as address:
        return asyncio.run(meet(address, (*CASES, *HANDSHAKES), record))


@pytest.fixture(scope="session")
def met_by_gunicorn(folder: Path) -> Encounters:
    record = place_recorder(folder / "gunicorn")
    with peer(folder / "gunicorn", *gunicorn(folder)) as address:
        return asyncio.run(meet(address, CASES, record))
