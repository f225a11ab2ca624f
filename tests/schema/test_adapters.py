"""Another tool's schema: its commands run under the same lock, gates and ledger, and are not believed on their word."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from hitless.schema import Heartbeat, Invalid, Rejected, SchemaError, ToolPhases
from schema.conftest import Make, Place

MANAGE = """
import pathlib, sys
state = pathlib.Path("state")
word = sys.argv[1]
order = ["expand", "migrate", "contract", "done"]
now = state.read_text() if state.exists() else "expand"
if word == "check":
    sys.exit({"done": 0, "expand": 3, "migrate": 4, "contract": 5}[now])
if "lie" in sys.argv:
    sys.exit(0)
if "fail" in sys.argv:
    sys.exit("no rights")
assert word == now, (word, now)
state.write_text(order[order.index(word) + 1])
"""


def manage(place: Place, *more: str, **changed: Any) -> ToolPhases:
    (place.folder / "manage.py").write_text(MANAGE)
    command = [sys.executable, "manage.py"]
    commands = {phase: [*command, phase, *more] for phase in ("expand", "migrate", "contract")}
    settings = {"adapter": "commands", "release": "2", "commands": commands | {"check": [*command, "check"]}}
    return ToolPhases(place.settings(**(settings | changed)), place.folder)


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_any_commands_are_driven_through_all_phases(kind: str, make_place: Make) -> None:
    place = make_place(kind)
    phases = manage(place)
    assert phases.status().next == "expand"
    with pytest.raises(Rejected, match="expand comes before migrate; run: hitless db expand"):
        phases.migrate()
    assert phases.expand().revisions
    assert not phases.expand().changed
    assert phases.status().next == "migrate"
    phases.migrate()
    with Heartbeat(place.url, service="images", node="n1", release="2", every_s=0.5):
        with pytest.raises(Rejected, match="backup: there is no backup"):
            phases.contract()
        phases.backup()
        assert phases.contract().revisions
    assert phases.status().next is None
    assert [run.phase for run in phases.history(1)] == ["contract"]


def test_a_tool_that_says_it_did_and_did_not_is_found_out(make_place: Make) -> None:
    with pytest.raises(SchemaError, match="expand is still to be done"):
        manage(make_place("sqlite"), "lie").expand()


def test_a_tool_that_fails_is_quoted(make_place: Make) -> None:
    with pytest.raises(SchemaError, match="exited with 1: no rights"):
        manage(make_place("sqlite"), "fail").expand()


def test_an_adapter_without_its_settings_says_what_is_missing(make_place: Make) -> None:
    place = make_place("sqlite")
    with pytest.raises(Invalid, match=r"commands\.check is not set"):
        ToolPhases(place.settings(adapter="commands", release="2"), place.folder)
    with pytest.raises(Invalid, match="release is not set"):
        manage(place, release=None)


def test_a_project_of_plain_alembic_is_driven(make_place: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_place("sqlite")
    folder = place.folder
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {folder}/scripts\nsqlalchemy.url = {place.url}\n"
    )
    versions = folder / "scripts" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text(
        dedent("""
        from alembic import context
        from sqlalchemy import create_engine
        with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
    """)
    )
    revisions = {"a1": (None, "CREATE TABLE t (x int)"), "b2": ("a1", "ALTER TABLE t ADD y int"),
                 "c3": ("b2", "ALTER TABLE t DROP COLUMN x")}  # fmt: skip
    for name, (down, sql) in revisions.items():
        text = f"from alembic import op\nrevision = {name!r}\ndown_revision = {down!r}\ndef upgrade(): op.execute({sql!r})\n"
        (versions / f"{name}.py").write_text(text)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    settings = place.settings(adapter="alembic", release="2", alembic={"expand": "b2", "contract": "c3"})
    phases = ToolPhases(settings, folder)
    assert phases.status().next == "expand"
    phases.expand()
    assert place.columns("t") == {"x", "y"}
    assert phases.status().next == "contract"
    assert phases.migrate().revisions == ()
    phases.backup()
    phases.contract(force=["nodes"])
    assert place.columns("t") == {"y"}


def test_a_django_project_is_driven(make_place: Make) -> None:
    place = make_place("sqlite")
    app = place.folder / "shop"
    (app / "migrations").mkdir(parents=True)
    (app / "__init__.py").touch()
    (app / "migrations" / "__init__.py").touch()
    (place.folder / "manage.py").write_text(
        dedent(f"""
        import sys
        from django.conf import settings
        from django.core.management import execute_from_command_line
        database = {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{place.folder}/images.db"}}
        settings.configure(INSTALLED_APPS=["shop"], DATABASES={{"default": database}}, USE_TZ=True)
        execute_from_command_line(sys.argv)
    """)
    )
    steps = {
        "0001_first": ("[]", 'migrations.CreateModel("Item", [("id", models.BigAutoField(primary_key=True)), '
                             '("old", models.IntegerField(null=True))])'),
        "0002_expand": ("[('shop', '0001_first')]", 'migrations.AddField("item", "new", models.IntegerField(null=True))'),
        "0003_contract": ("[('shop', '0002_expand')]", 'migrations.RemoveField("item", "old")'),
    }  # fmt: skip
    for name, (needs, operation) in steps.items():
        (app / "migrations" / f"{name}.py").write_text(
            "from django.db import migrations, models\n"
            f"class Migration(migrations.Migration):\n    dependencies = {needs}\n    operations = [{operation}]\n"
        )
    django = {
        "manage": [sys.executable, "manage.py"],
        "expand": {"shop": "0002_expand"},
        "contract": {"shop": "0003_contract"},
    }
    phases = ToolPhases(place.settings(adapter="django", release="2", django=django), place.folder)
    assert phases.status().next == "expand"
    phases.expand()
    assert place.columns("shop_item") == {"id", "old", "new"}
    phases.backup()
    phases.contract(force=["nodes"])
    assert place.columns("shop_item") == {"id", "new"}
    assert phases.status().next is None
