"""`hitless db` as an operator uses it: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from hitless.cli.app import build
from hitless.config import Environment, load
from hitless.schema.database import Database
from hitless.schema.lease import held
from schema import imagestore


@dataclass
class Place:
    folder: Path

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, what was printed, what was said on standard error."""
        done = CliRunner().invoke(build(), ["db", *arguments], env=environment)
        return done.exit_code, done.stdout, done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[1])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hitless-db.toml"
    file.write_text('url = "sqlite:///images.db"\nservice = "images"\n[heartbeat]\nrequired = true\n')
    file.chmod(0o600)
    imagestore.all_releases(tmp_path)
    return Place(tmp_path)


def test_an_upgrade_from_the_command_line(place: Place) -> None:
    code, out, _ = place.run("check")
    assert (code, out) == (1, "next: hitless db expand\n")
    code, out, err = place.run("expand")
    assert code == 0, err
    assert "expand of release 3: 3 revisions" in out
    assert "r2_expand01: r2_expand01 of the tests" in err
    assert place.json("status")["next"] == "contract"
    code, out, err = place.run("contract")
    assert code == 3
    assert "backup: there is no backup; run: hitless db backup" in err
    assert place.run("backup")[0] == 0
    report = place.json("contract", "--force", "nodes")
    assert report["forced"] == ["nodes"]
    assert place.run("check")[0] == 0
    history = place.json("history")
    assert [(run["phase"], run["status"]) for run in history[:2]] == [
        ("contract", "done"),
        ("backup", "done"),
    ]
    assert "forced: nodes" in place.run("history")[1]


def test_a_plan_shows_the_sql_and_the_gates_and_changes_nothing(place: Place) -> None:
    code, out, _ = place.run("plan")
    assert code == 0
    assert "CREATE TABLE images" in out
    assert "migrate r2_migrate01: asked after expand" in out
    assert "contract r2_contract01" in out
    assert "gate backup: closed" in out
    assert place.json("status")["heads"] == []


def test_lint_says_why_and_what_to_write_instead(place: Place) -> None:
    assert place.run("lint")[:2] == (0, "nothing was found\n")
    imagestore.write(
        place.folder,
        "expand",
        "r4_expand01",
        "4",
        'def upgrade(): op.drop_table("images")',
        down="r3_expand01",
    )
    code, out, _ = place.run("lint")
    assert code == 1
    assert "expand may only add" in out
    assert "instead: do it in the contract revision" in out


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ('url = "sqlite:///images.db"\nworkers = 2\n', 2, "hitless-db.toml:2: workers: unknown"),
        ('url = "oracle://x"\n', 2, "is no database that hitless knows"),
        ('url = "nonsense"\n', 2, "the url of the database is none"),
        ('url = "postgresql://u@127.0.0.1:1/x"\n', 6, "cannot reach postgresql+psycopg://u@127.0.0.1:1/x"),
        ('url = "mysql://u:word@127.0.0.1:1/x"\n', 6, "cannot reach mysql+pymysql://u:***@127.0.0.1:1/x"),
        ('url = "sqlite:///images.db"\nmigrations = "nowhere"\n', 2, "hitless db init"),
        ('url = "sqlite:///images.db"\nrelease = "9"\n', 2, "has no release 9; it has: 1, 2, 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(change: str, code: int, told: str, place: Place) -> None:
    (place.folder / "hitless-db.toml").write_text(change)
    found, _, err = place.run("status")
    assert (found, told in err) == (code, True), err
    assert "Traceback" not in err
    assert "word" not in err


def test_a_second_runner_exits_with_5(place: Place) -> None:
    database = Database(f"sqlite:///{place.folder}/images.db")
    with held(database, name="images", seconds=30, purpose="migrate"):
        command = [sys.executable, "-m", "hitless", "db", "expand"]
        done = subprocess.run(
            command, cwd=place.folder, capture_output=True, text=True, timeout=100, check=False
        )
    assert done.returncode == 5
    assert "has been at migrate" in done.stderr


def test_settings_may_stand_in_a_table_of_another_file_and_in_the_environment(place: Place) -> None:
    file = place.folder / "all.toml"
    file.write_text('[web]\nport = 1\n[db]\nurl = "sqlite:///images.db"\nservice = "images"\n')
    file.chmod(0o600)
    code, out, err = place.run("status", "-c", "all.toml", HITLESS_DB_RELEASE="2")
    assert code == 0, err
    assert out.startswith("release 2;")


def test_its_environment_does_not_disturb_other_commands() -> None:
    class Other(BaseModel):
        workers: int = 1

    assert (
        load(Other, Environment(environ={"HITLESS_DB_URL": "x", "HITLESS_WORKERS": "2"})).settings.workers
        == 2
    )


def test_broken_migrations_are_told_by_file(place: Place) -> None:
    (place.folder / "migrations/expand/r3_expand01.py").write_text("revision = 'x'\nnonsense(")
    code, _, err = place.run("status")
    assert code == 2
    assert "r3_expand01.py" in err


def test_restore_wants_to_hear_yes(place: Place) -> None:
    code, _, err = place.run("restore", "x.sqlite")
    assert code == 2
    assert "--yes" in err
