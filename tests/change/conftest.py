from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitless.change import Events, Journal, Transactions


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state" / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def transactions(journal: Journal, events: Events) -> Transactions:
    return Transactions(journal, events, generation=1)
