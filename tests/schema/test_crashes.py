"""A runner that dies, at any step, leaves a database on which the phase is simply run again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from hitless.schema import SchemaError
from hitless.schema.ledger import Ledger
from hitless.schema.recorder import Recorder
from schema import imagestore
from schema.conftest import KINDS, Make, Place, fill

DEADLINE_S = 60


def dying(run: Callable[[], object], owner: type, method: str, at: int) -> bool:
    """Run in a forked process that kills itself before the `at`-th call of a method; whether it came to that."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(DEADLINE_S)
        calls = 0
        original = getattr(owner, method)

        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **named)

        setattr(owner, method, counted)
        try:
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL
    return os.WIFSIGNALED(status)


def shape(place: Place) -> dict[str, Any]:
    """What the schema is, and what is in it."""
    with place.database.connect() as connection:
        triggers = sorted(place.database.dialect.triggers(connection))
    return {
        "columns": place.columns("images"),
        "triggers": triggers,
        "rows": place.sql("SELECT count(*) FROM images"),
    }


def killed_expand(make_place: Make, kind: str, method: str, at: int) -> bool:
    """Kill an expand before a call of the recorder, run it again; it must end as one that nobody killed."""
    place = make_place(kind)
    imagestore.release_1(place.folder)
    imagestore.release_2(place.folder)
    place.phases().expand("1")
    fill(place, 3)
    died = dying(lambda: place.phases().expand("2"), Recorder, method, at)
    place.phases().expand("2")
    names = ("upd", "ins") if kind == "mariadb" else ("ins_down", "ins_up", "upd_down", "upd_up")
    triggers = ["trg"] if kind == "postgres" else sorted(names)
    assert shape(place) == {
        "columns": {"id", "name", "is_public", "bytes", "visibility"},
        "triggers": [f"sync_images_visibility_{name}" for name in triggers],
        "rows": [(3,)],
    }, f"killed before call {at} of {method}"
    assert place.phases().status("2").interrupted == 0
    return died


@pytest.mark.parametrize(("kind", "at"), [("sqlite", 2), ("postgres", 3), ("mariadb", 2), ("mariadb", 3)])
def test_expand_killed_in_the_middle_ends_the_same_when_run_again(
    kind: str, at: int, make_place: Make
) -> None:
    assert killed_expand(make_place, kind, "_write", at), "nothing was killed: the test shows nothing"


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["_write", "_commit"])
def test_expand_killed_at_every_step_ends_the_same(kind: str, method: str, make_place: Make) -> None:
    at = 1
    while killed_expand(make_place, kind, method, at):
        at += 1
    assert at > 3 or (method == "_commit" and kind != "mariadb"), (
        "hardly anything was killed: the test shows nothing"
    )


def test_an_expand_that_failed_half_way_is_run_again_where_it_stopped(make_place: Make) -> None:
    """Glance's own stops for ever: 1060 Duplicate column name 'visibility'."""
    place = make_place("mariadb")
    imagestore.all_releases(place.folder)
    phases = place.phases()
    phases.expand("1")
    place.sql(
        "CREATE TRIGGER sync_images_visibility_upd BEFORE UPDATE ON images FOR EACH ROW SET NEW.name = NEW.name"
    )
    with pytest.raises(SchemaError, match="already exists"):
        phases.expand("2")
    assert "visibility" in place.columns("images"), "MariaDB cannot take it back"
    assert phases.history(1)[0].status == "failed"
    place.sql("DROP TRIGGER sync_images_visibility_upd")
    report = phases.expand("2")
    assert report.passed_over == 2
    assert report.revisions == ("r2_expand01",)


def test_a_revision_that_failed_may_be_corrected(make_place: Make) -> None:
    place = make_place("mariadb")
    imagestore.release_1(place.folder)
    place.phases().expand("1")
    script = """
        def upgrade():
            op.add_column("images", sa.Column("a", sa.Integer))
            op.add_column("{table}", sa.Column("b", sa.Integer))
    """
    imagestore.write(
        place.folder, "expand", "r2_expand01", "2", script.format(table="imagse"), down="r1_expand01"
    )
    with pytest.raises(SchemaError, match="imagse"):
        place.phases().expand("2")
    imagestore.write(
        place.folder, "expand", "r2_expand01", "2", script.format(table="images"), down="r1_expand01"
    )
    assert place.phases().expand("2").passed_over == 1
    assert {"a", "b"} <= place.columns("images")


@pytest.mark.parametrize("kind", KINDS)
def test_a_contract_that_was_killed_goes_on_though_its_columns_are_gone(kind: str, make_place: Make) -> None:
    place = make_place(kind)
    imagestore.all_releases(place.folder)
    phases = place.phases()
    phases.expand("2")
    fill(place, 5)
    phases.migrate("2")
    phases.backup()
    place.beat("n1", "2")
    # MariaDB: all statements but the last have taken effect by then.
    assert dying(lambda: place.phases().contract("2"), Recorder, "_write", 6 if kind == "mariadb" else 2)
    phases.contract("2")
    assert "is_public" not in place.columns("images")
    assert phases.status("2").next is None


@pytest.mark.parametrize("kind", KINDS)
def test_migrate_killed_between_batches_goes_on_behind_the_checkpoint(kind: str, make_place: Make) -> None:
    place = make_place(kind)
    imagestore.all_releases(place.folder)
    slow = {"batch": 20, "share": 1.0}
    phases = place.phases(backfill=slow)
    phases.expand("1")
    fill(place, 300)
    phases.expand("2")
    assert dying(lambda: place.phases(backfill=slow).migrate("2"), Ledger, "checkpoint", 4)
    moved = place.sql("SELECT count(*) FROM images WHERE visibility IS NOT NULL")[0][0]
    assert 0 < moved < 300
    assert phases.migrate("2").rows == {"r2_migrate01": 300 - moved}
    with place.database.connect() as connection:
        assert Ledger(connection, place.database.dialect).data()["r2_migrate01"].done == 300


def test_where_the_schema_does_not_tell_the_operator_is_asked(make_place: Make) -> None:
    place = make_place("mariadb")
    imagestore.release_1(place.folder)
    place.phases().expand("1")
    imagestore.write(place.folder, "expand", "r2_expand01", "2", """
        def upgrade():
            op.execute("ALTER TABLE images ENGINE=InnoDB")
            op.add_column("images", sa.Column("a", sa.Integer))
    """, down="r1_expand01")  # fmt: skip
    assert dying(lambda: place.phases().expand("2"), Recorder, "_write", 2)
    phases = place.phases()
    with pytest.raises(SchemaError, match="hitless db resolve r2_expand01 1 --done"):
        phases.expand("2")
    assert phases.status("2").interrupted == 1
    phases.resolve("r2_expand01", 1, happened=True)
    assert phases.expand("2").passed_over == 1
    assert "a" in place.columns("images")


def test_an_index_that_was_being_built_concurrently_is_built_again(make_place: Make) -> None:
    place = make_place("postgres")
    imagestore.release_1(place.folder)
    place.phases().expand("1")
    imagestore.write(place.folder, "expand", "r2_expand01", "2", """
        def upgrade():
            op.add_column("images", sa.Column("a", sa.Integer))
            with op.get_context().autocommit_block():
                op.create_index("images_name", "images", ["name"], unique=True, postgresql_concurrently=True)
            op.add_column("images", sa.Column("b", sa.Integer))
    """, down="r1_expand01")  # fmt: skip
    place.sql("INSERT INTO images (name) VALUES ('same'), ('same')")
    phases = place.phases()
    with pytest.raises(SchemaError, match="could not create unique index"):
        phases.expand("2")
    place.sql("DELETE FROM images")
    phases.expand("2")
    assert {"a", "b"} <= place.columns("images")
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'images_name'::regclass"
    assert place.sql(valid) == [(True,)]
