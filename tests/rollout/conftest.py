from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout.ground import Ground

Make = Callable[..., Ground]


@pytest.fixture
def make_ground(tmp_path: Path) -> Iterator[Make]:
    """Services that run, and are ended at the end."""
    made: list[Ground] = []

    def make(nodes: int = 3, release: str = "1") -> Ground:
        folder = tmp_path / f"g{len(made)}"
        folder.mkdir()
        ground = Ground(folder, nodes, release)
        made.append(ground)
        ground.start()
        return ground

    yield make
    for ground in made:
        ground.end()


@pytest.fixture
def ground(make_ground: Make) -> Ground:
    return make_ground()
