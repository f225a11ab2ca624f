from __future__ import annotations

from pathlib import Path

from tests.change.documents import run_examples


def test_the_example_of_the_page_works(tmp_path: Path) -> None:
    assert run_examples("change.md", tmp_path).split() == [
        "change.started",
        "change.rejected",
        "change.started",
        "change.prepared",
        "change.committed",
    ]
