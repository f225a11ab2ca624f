"""The migrations of the example are what lint wants, on every database."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitless.schema.database import Database
from hitless.schema.lint import lint
from hitless.schema.project import Project

MIGRATIONS = Path(__file__).parents[2] / "examples" / "imagestore" / "fleet" / "migrations"


@pytest.mark.parametrize(
    "url", ["sqlite:///none.db", "postgresql://u@127.0.0.1:1/none", "mysql://u@127.0.0.1:1/none"]
)
def test_lint_finds_nothing_in_any_release(url: str) -> None:
    project = Project(MIGRATIONS)
    assert [release.name for release in project.releases] == ["1", "2", "3"]
    for release in project.releases:
        assert lint(project, Database(url), release) == ()
