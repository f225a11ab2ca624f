"""The page's example is run as it stands there, and its table of settings is what the settings say."""

from __future__ import annotations

import re
import runpy
import sqlite3
from pathlib import Path

from typer.testing import CliRunner

from hitless.cli.app import build
from hitless.schema.settings import read_settings

PAGE = Path(__file__).parents[2] / "docs" / "db.md"


def hitless(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(build(), ["db", *arguments])
    return done.exit_code, done.output


def test_the_example_of_the_page_works(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    commands = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert commands
    for line in commands[1].splitlines():
        import shlex

        assert hitless(*shlex.split(line)[2:])[0] == 0
    assert hitless("revision", "2", "-m", "visibility")[0] == 0
    files = re.findall(r"```python\n# (migrations/\S+)\n(.*?)```", text, re.DOTALL)
    assert len(files) == 4
    for name, body in files:
        assert (tmp_path / name).exists(), "hitless db revision names it otherwise"
        (tmp_path / name).write_text(body)
    assert hitless("expand", "--release", "1")[0] == 0
    with sqlite3.connect("images.db") as database:
        database.execute("INSERT INTO images (name, is_public) VALUES ('old', 1)")
    assert hitless("lint")[0] == 0
    for phase in ("expand", "migrate", "backup"):
        code, said = hitless(phase)
        assert code == 0, said
    code, said = hitless("contract")
    assert (code, "nothing tells which releases use the database" in said) == (3, True)
    assert hitless("contract", "--force", "sessions")[0] == 0
    assert hitless("check")[0] == 0
    with sqlite3.connect("images.db") as database:
        assert database.execute("SELECT name, visibility FROM images").fetchall() == [("old", "public")]


def test_the_table_of_settings_is_what_the_settings_say() -> None:
    page = runpy.run_path(str(PAGE.with_name("db_options.py")))["page"]()
    assert page == PAGE.read_text(), "run: python docs/db_options.py"


def test_the_configuration_of_the_page_is_valid(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    secret = tmp_path / "db-url"
    secret.write_text("mysql://glance@127.0.0.1/glance\n")
    for number, block in enumerate(re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(block.replace("/etc/glance/db-url", str(secret)))
        file.chmod(0o644)
        assert read_settings(file, {}).settings.service == "glance"
