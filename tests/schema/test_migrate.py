"""Data migrations: in batches, beside readers and writers, with an end, and with brakes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import text

from hitless.schema import Invalid, Late, SchemaError
from hitless.schema.database import Database
from hitless.schema.settings import BackfillSettings
from hitless.schema.sqlite import SQLite
from hitless.schema.throttle import Throttle
from schema import imagestore
from schema.conftest import KINDS, Make, Place, fill


def prepared(make_place: Make, kind: str, rows: int, data: str, **settings: Any) -> tuple[Place, Any]:
    """Release 2 adds a plain column, and this data migration fills it."""
    place = make_place(kind)
    imagestore.release_1(place.folder)
    body = 'def upgrade():\n    op.add_column("images", sa.Column("kib", sa.BigInteger))\n'
    imagestore.write(place.folder, "expand", "r2_expand01", "2", body, down="r1_expand01")
    imagestore.write_data(place.folder, "r2_migrate01", "2", data)
    imagestore.write(
        place.folder,
        "contract",
        "r2_contract01",
        "2",
        "def upgrade(): pass",
        down="r1_contract01",
        depends="r2_expand01",
    )
    phases = place.phases(**settings)
    phases.expand("1")
    fill(place, rows)
    phases.expand("2")
    return place, phases


KIB = """
from hitless.schema import Backfill
backfill = Backfill(table="images", set={"kib": "{bytes} / 1024"}, where="{kib} IS NULL")
"""


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_moved_in_batches_with_progress(kind: str, make_place: Make) -> None:
    place, phases = prepared(make_place, kind, 1000, KIB, backfill={"batch": 100, "share": 1.0})
    assert phases.migrate().rows == {"r2_migrate01": 1000}
    steps = place.heard.steps
    assert len(steps) >= 10
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert (steps[-1].done, steps[-1].total, steps[-1].eta_s) == (1000, 1000, 0.0)
    assert place.sql("SELECT count(*) FROM images WHERE kib <> bytes / 1024") == [(0,)]


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_it_ends_though_others_insert_all_the_time(kind: str, make_place: Make) -> None:
    place, phases = prepared(make_place, kind, 300, KIB, backfill={"batch": 20, "share": 1.0, "passes": 3})
    done = threading.Event()
    inserted = 0
    told = ""

    def insert() -> None:
        nonlocal inserted
        with place.engine().connect() as connection:
            while not done.wait(0.001):
                connection.execute(text("INSERT INTO images (name, bytes) VALUES ('new', 2048)"))
                inserted += 1

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        # Nothing keeps the columns in step here, so rows may always be left: it says so, and does not run for ever.
        try:
            phases.migrate()
        except SchemaError as error:
            told = error.message
    finally:
        done.set()
        thread.join(60)
    assert inserted
    assert not told or "keep the columns in step by triggers" in told
    phases.migrate()
    assert place.sql("SELECT count(*) FROM images WHERE kib IS NULL") == [(0,)]


def test_with_triggers_nothing_is_left_behind_though_others_insert_all_the_time(place: Place) -> None:
    phases = place.phases(backfill={"batch": 20, "share": 1.0, "passes": 1})
    phases.expand("1")
    fill(place, 300)
    phases.expand("2")
    done = threading.Event()

    def insert() -> None:
        with place.engine().connect() as connection:
            while not done.wait(0.005):
                connection.execute(text("INSERT INTO images (name, is_public) VALUES ('new', true)"))

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        assert phases.migrate("2").rows["r2_migrate01"] == 300
    finally:
        done.set()
        thread.join(60)
    assert place.sql("SELECT count(*) FROM images WHERE visibility IS NULL") == [(0,)]


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_rows_that_others_have_locked_are_tried_again_and_then_given_up(kind: str, make_place: Make) -> None:
    place, phases = prepared(make_place, kind, 50, KIB, backfill={"batch": 10, "share": 1.0})
    engine = place.engine().execution_options(isolation_level="READ COMMITTED")
    with engine.connect() as other, other.begin():
        other.execute(text("UPDATE images SET name = 'mine' WHERE id = 30"))
        with pytest.raises(SchemaError, match="rows stayed locked through 2 attempts"):
            place.phases(backfill={"batch": 10}, locks={"timeout": 1, "attempts": 2, "pause": 0.01}).migrate()
    before = place.sql("SELECT count(*) FROM images WHERE kib IS NOT NULL")[0][0]
    assert 0 < before < 50, "what was moved stays moved"
    assert phases.migrate().rows == {"r2_migrate01": 50 - before}


@pytest.mark.parametrize("kind", KINDS)
def test_keys_may_be_text(kind: str, make_place: Make) -> None:
    keyed = KIB.replace('table="images"', 'table="images", key="name"')
    _, phases = prepared(make_place, kind, 77, keyed, backfill={"batch": 10, "share": 1.0})
    assert phases.migrate().rows == {"r2_migrate01": 77}


def test_keys_may_be_uuids(make_place: Make) -> None:
    place = make_place("postgres")
    place.sql("CREATE TABLE t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), a int)")
    place.sql("INSERT INTO t (a) SELECT NULL FROM generate_series(1, 55)")
    from hitless.schema import Backfill

    backfill = Backfill(table="t", set={"a": "1::int"}, where="{a} IS NULL")
    checkpoint: Any = {}
    rows = 0
    with Database(place.url).engine.connect() as connection:
        while True:
            with connection.begin():
                batch = backfill.run(connection, 10, checkpoint)
            if not batch.keys:
                break
            checkpoint = batch.checkpoint
            rows += batch.rows
    assert rows == 55


def test_code_of_ones_own_that_moves_nothing_is_found_out(make_place: Make) -> None:
    data = "def pending(connection): return 5\ndef migrate(connection, batch): return 0\n"
    _, phases = prepared(make_place, "sqlite", 5, data, backfill={"passes": 2})
    with pytest.raises(SchemaError, match="5 rows still wait after 2 passes"):
        phases.migrate()


def test_code_of_ones_own_that_never_ends_meets_the_deadline(make_place: Make) -> None:
    data = "def pending(connection): return True\ndef migrate(connection, batch): return 1\n"
    _, phases = prepared(make_place, "sqlite", 5, data, backfill={"deadline": 0.2})
    with pytest.raises(Late, match=r"has not ended within 0\.2 s"):
        phases.migrate()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            "def pending(connection): return 'many'\ndef migrate(connection, batch): return 1\n",
            "must return a number or a bool",
        ),
        (
            "def pending(connection): return 1\ndef migrate(connection, batch): return None\n",
            "must return the number of rows",
        ),
    ],
)
def test_what_is_no_answer_is_refused(data: str, told: str, make_place: Make) -> None:
    _, phases = prepared(make_place, "sqlite", 5, data)
    with pytest.raises(SchemaError, match=told):
        phases.migrate()


@pytest.mark.parametrize(
    "data", ["pending = 1\n", "import nothing_like_this\n", "def pending(connection): return 0\n"]
)
def test_a_file_that_is_no_data_migration_is_refused_by_name(data: str, make_place: Make) -> None:
    with pytest.raises(Invalid, match="r2_migrate01"):
        prepared(make_place, "sqlite", 5, data)


class Clock:
    """Time that passes when somebody waits, and when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def throttle(clock: Clock, **settings: Any) -> Throttle:
    return Throttle(BackfillSettings(**settings), SQLite(), wait=clock.wait, clock=clock)


def test_a_batch_runs_during_its_share_of_the_time_only() -> None:
    clock = Clock()
    throttle(clock, share=0.25).after(100, 1.0)
    assert clock.waits == [3.0]


def test_a_rate_is_kept() -> None:
    clock = Clock()
    throttle(clock, rate=50, share=1.0).after(100, 0.5)
    assert clock.waits == [1.5]


def test_batches_shrink_until_one_takes_no_longer_than_it_may_and_grow_again() -> None:
    limits = throttle(Clock(), batch=1000, batch_time=0.1)
    first = limits.batch
    for _ in range(20):
        limits.after(limits.batch, 1.0)
    assert limits.batch == 100
    for _ in range(20):
        limits.after(limits.batch, 0.001)
    assert first < limits.batch == 1000


def test_a_replica_that_is_behind_stops_everything_until_it_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, told = Clock(), []
    limits = throttle(clock, max_lag=5)
    lags = iter([9.0, 7.0, 1.0])
    monkeypatch.setattr(SQLite, "lag", lambda self, connection: next(lags))
    limits.hold(None, told.append)  # type: ignore[arg-type]
    assert told == ["a replica is 9.0 s behind", "a replica is 7.0 s behind"]


def test_a_database_that_stays_busy_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = throttle(Clock(), max_running=3, max_wait=10)
    monkeypatch.setattr(SQLite, "running", lambda self, connection: 8)
    with pytest.raises(SchemaError, match="8 sessions run statements for more than 10 s; run migrate again"):
        limits.hold(None, lambda why: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_running_sessions_and_lag_can_be_asked(kind: str, make_place: Make) -> None:
    place = make_place(kind)
    with place.database.connect() as connection:
        assert place.database.dialect.running(connection) >= 0
        assert place.database.dialect.lag(connection) is None
