from __future__ import annotations

from pathlib import Path

from tests.change.documents import blocks, run_examples


def test_the_example_of_the_page_works_and_prints_what_it_says(tmp_path: Path) -> None:
    assert run_examples("oslo.md", tmp_path) == blocks("oslo.md", "text")[0]
