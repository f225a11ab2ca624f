from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes `service.toml`, as an operator would, and gives its path."""

    def write(text: str) -> Path:
        path = tmp_path / "service.toml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    return write
