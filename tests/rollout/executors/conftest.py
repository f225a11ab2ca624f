from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers.sshd import Sshd, running_sshd


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    with running_sshd() as server:
        yield server
