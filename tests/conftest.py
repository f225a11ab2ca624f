"""What holds for every test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.rabbitmq import RabbitMQ, running_rabbitmq


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """One for all: it takes long to start."""
    with running_rabbitmq("rabbitmq_consistent_hash_exchange") as server:
        yield server


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A temporary directory that other users can enter; pytest's own are private, and closed again by every session."""
    with tempfile.TemporaryDirectory(prefix="hitless-test-", dir="/tmp") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root are skipped for developers without it, and never in CI, where they must fail."""
    if os.geteuid() == 0 or os.environ.get("CI"):
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))
