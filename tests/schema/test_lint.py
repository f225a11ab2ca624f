"""Lint finds what would hurt a running release, says why and what to write instead, and is silent about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitless.schema.database import Database
from hitless.schema.lint import Finding, lint
from hitless.schema.project import Project
from schema import imagestore

URLS = {
    "sqlite": "sqlite://",
    "mysql": "mysql://u@127.0.0.1/d",
    "postgresql": "postgresql://u@127.0.0.1/d",
}
UNSAFE = [
    # branch, database, rule, body
    ("expand", "sqlite", "expand_drops", 'op.drop_column("images", "is_public")'),
    ("expand", "mysql", "expand_drops", 'op.drop_table("images")'),
    ("expand", "postgresql", "expand_drops", 'op.execute("TRUNCATE images")'),
    ("expand", "postgresql", "rename", 'op.alter_column("images", "name", new_column_name="title")'),
    ("contract", "mysql", "rename", 'op.alter_column("images", "name", new_column_name="title", existing_type=sa.String(64))'),
    ("expand", "postgresql", "rename", 'op.rename_table("images", "pictures")'),
    ("expand", "postgresql", "change_type", 'op.alter_column("images", "name", type_=sa.Text())'),
    ("expand", "mysql", "change_type", 'op.alter_column("images", "name", type_=sa.Text())'),
    ("contract", "postgresql", "not_null", 'op.alter_column("images", "name", nullable=False)'),
    ("expand", "postgresql", "not_null", 'op.alter_column("images", "name", nullable=False)'),
    ("expand", "sqlite", "required_column", 'op.add_column("images", sa.Column("a", sa.Integer, nullable=False))'),
    ("expand", "mysql", "required_column", 'op.add_column("images", sa.Column("a", sa.Integer, nullable=False))'),
    ("expand", "postgresql", "volatile_default",
     'op.add_column("images", sa.Column("a", sa.Uuid, server_default=sa.text("gen_random_uuid()")))'),
    ("expand", "postgresql", "generated_column",
     'op.add_column("images", sa.Column("a", sa.Integer, sa.Computed("bytes * 2", persisted=True)))'),
    ("expand", "postgresql", "create_index", 'op.create_index("i", "images", ["name"])'),
    ("contract", "postgresql", "validating_constraint",
     'op.create_foreign_key("f", "images", "owners", ["owner"], ["id"])'),
    ("contract", "postgresql", "validating_constraint", 'op.create_unique_constraint("u", "images", ["name"])'),
    ("expand", "mysql", "expand_constrains", 'op.create_unique_constraint("u", "images", ["name"])'),
    ("expand", "mysql", "copying_algorithm", 'op.execute("ALTER TABLE images ADD COLUMN a int, ALGORITHM=COPY")'),
    ("expand", "mysql", "data_in_revision", 'op.execute("UPDATE images SET name = 1")'),
    ("contract", "sqlite", "data_in_revision", 'op.execute("DELETE FROM images")'),
    ("expand", "postgresql", "json_column", 'op.add_column("images", sa.Column("a", sa.JSON))'),
    ("expand", "sqlite", "not_offline", "op.get_bind().execute(sa.text('SELECT 1')).scalar()"),
]  # fmt: skip
SAFE = [
    ("expand", "sqlite", 'op.add_column("images", sa.Column("a", sa.Integer))'),
    ("expand", "mysql", 'op.add_column("images", sa.Column("a", sa.Integer, nullable=False, server_default="1"))'),
    ("expand", "postgresql", 'op.add_column("images", sa.Column("a", sa.DateTime, server_default=sa.func.now()))'),
    ("expand", "mysql", 'op.create_index("i", "images", ["name"])'),
    ("expand", "postgresql", 'op.create_table("other", sa.Column("id", sa.Integer, primary_key=True));'
     ' op.create_index("i", "other", ["id"])'),
    ("expand", "postgresql", 'with op.get_context().autocommit_block():'
     ' op.create_index("i", "images", ["name"], postgresql_concurrently=True)'),
    ("contract", "postgresql", 'op.drop_column("images", "is_public")'),
    ("contract", "mysql", 'op.drop_column("images", "is_public")'),
    ("contract", "sqlite", 'op.drop_column("images", "is_public")'),
]  # fmt: skip


def findings(folder: Path, branch: str, database: str, body: str, more: str = "") -> tuple[Finding, ...]:
    imagestore.release_1(folder)
    text = f"{more}\ndef upgrade():\n    {body}\n"
    if branch == "expand":
        imagestore.write(folder, "expand", "r2_expand01", "2", text, down="r1_expand01")
    else:
        imagestore.write(folder, "expand", "r2_expand01", "2", "def upgrade(): pass", down="r1_expand01")
        imagestore.write(
            folder, "contract", "r2_contract01", "2", text, down="r1_contract01", depends="r2_expand01"
        )
    project = Project(folder / "migrations")
    return lint(project, Database(URLS[database]), project.release("2"))


@pytest.mark.parametrize(
    ("branch", "database", "rule", "body"), UNSAFE, ids=[f"{e[0]}-{e[1]}-{e[2]}" for e in UNSAFE]
)
def test_what_is_unsafe_is_found(branch: str, database: str, rule: str, body: str, tmp_path: Path) -> None:
    found = findings(tmp_path, branch, database, body)
    assert rule in [finding.rule for finding in found]
    for finding in found:
        assert finding.why
        assert finding.instead


@pytest.mark.parametrize(("branch", "database", "body"), SAFE)
def test_what_is_safe_is_not(branch: str, database: str, body: str, tmp_path: Path) -> None:
    assert findings(tmp_path, branch, database, body) == ()


def test_a_revision_may_take_a_rule_on_itself(tmp_path: Path) -> None:
    body = 'op.create_index("i", "images", ["name"])'
    assert findings(tmp_path, "expand", "postgresql", body, 'allow = {"create_index": "ten rows"}') == ()


def test_the_releases_of_the_example_are_clean(tmp_path: Path) -> None:
    imagestore.all_releases(tmp_path)
    project = Project(tmp_path / "migrations")
    for url in URLS.values():
        for release in project.releases:
            assert lint(project, Database(url), release) == ()


def test_squawk_is_asked_about_postgresql(tmp_path: Path) -> None:
    found = findings(tmp_path, "contract", "postgresql", 'op.execute("DROP DATABASE images")')
    assert "ban-drop-database" in [finding.rule for finding in found]
