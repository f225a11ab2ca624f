from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        (
            "hitless.schema",
            ("hitless.serve", "hitless.live", "hitless.control", "hitless.cli", "typer", "rich"),
        ),
        ("hitless.cli.app", ("sqlalchemy", "alembic", "hitless.schema")),
    ],
)
def test_nothing_is_imported_that_is_not_below(imported: str, unwanted: tuple[str, ...]) -> None:
    script = f"import sys, {imported}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100
    )
    assert [name for name in done.stdout.split() if name.startswith(unwanted)] == []
