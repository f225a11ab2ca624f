from __future__ import annotations

from pathlib import Path

from tests.change.documents import blocks, run_examples


def test_the_examples_of_the_page_work_and_print_what_it_says(tmp_path: Path) -> None:
    assert run_examples("config.md", tmp_path) == blocks("config.md", "text")[0]
