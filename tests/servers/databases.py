"""Fixtures of the private servers, started once per test session and only when a test asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers.mariadb import MariaDB, running_mariadb
from tests.servers.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with running_mariadb() as server:
        yield server
