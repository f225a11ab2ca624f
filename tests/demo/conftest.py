"""The examples are not part of the package: they are imported from their folders, as a server imports them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitless.demo.place import temporary

EXAMPLES = Path(__file__).parents[2] / "examples"
for name in ("imagestore", "volumes"):
    sys.path.insert(0, str(EXAMPLES / name))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A store with two storage paths; new images go to the first."""
    data = f"{tmp_path}/new:{tmp_path}/old"
    return {"IMAGESTORE_DATA": data, "IMAGESTORE_DB": f"{tmp_path}/catalog.sqlite"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Whose path is short enough for sockets."""
    with temporary() as path:
        yield path
