"""The image store is an example, not part of the package: it is imported from its folder, as a server imports
it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "imagestore"
sys.path.insert(0, str(EXAMPLE))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A store with two storage paths; new images go to the first."""
    data = f"{tmp_path}/new:{tmp_path}/old"
    return {"IMAGESTORE_DATA": data, "IMAGESTORE_DB": f"{tmp_path}/catalog.sqlite"}
