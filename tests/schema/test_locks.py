"""A busy table is never held up for longer than the lock timeout, and two runners never meet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from hitless.schema import Busy, LeaseLost, LockTimeout, Rejected
from hitless.schema.lease import held
from hitless.schema.ledger import LEASE
from hitless.schema.recorder import Recorder
from schema import imagestore
from schema.conftest import FAST, Make, Place, fill
from schema.test_crashes import dying

SERVERS = ("mariadb", "postgres")
DEADLINE_S = 60
SLACK = 10
"""Times the lock timeout: the machine that the tests run on is busy."""


@contextmanager
def long_transaction(place: Place, query: str = "SELECT count(*) FROM images") -> Iterator[None]:
    """Somebody who reads a table and forgets to end."""
    engine = place.engine().execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection, connection.begin():
        connection.execute(text(query))
        yield


class Readers:
    """Others who use a table meanwhile; counts them, and the longest that one had to wait."""

    def __init__(self, place: Place, query: str) -> None:
        self.reads = 0
        self.longest_s = 0.0
        self._stop = threading.Event()
        self._engine = place.engine()
        self._query = text(query)
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        with self._engine.connect() as connection:
            while not self._stop.wait(0.005):
                began = time.monotonic()
                connection.execute(self._query)
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.reads += 1

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)


@pytest.mark.parametrize("kind", SERVERS)
def test_expand_behind_a_long_transaction_lets_others_pass_and_gives_up(kind: str, make_place: Make) -> None:
    place = make_place(kind)
    imagestore.all_releases(place.folder)
    place.phases().expand("1")
    fill(place, 10)
    phases = place.phases(locks=FAST | {"attempts": 3})
    write = "INSERT INTO images (name) VALUES ('meanwhile')"
    with long_transaction(place), Readers(place, write) as readers:
        with pytest.raises(LockTimeout, match="stayed in use through 3 attempts of 1 s"):
            phases.expand("2")
        written = readers.reads
    assert written > 1, "nobody was let through while the long transaction went on"
    assert readers.longest_s < SLACK * FAST["timeout"]
    assert "visibility" not in place.columns("images")
    assert phases.expand("2").revisions == ("r2_expand01",)


@pytest.mark.parametrize("kind", SERVERS)
def test_expand_succeeds_once_the_long_transaction_ends(kind: str, make_place: Make) -> None:
    place = make_place(kind)
    imagestore.all_releases(place.folder)
    place.phases().expand("1")
    phases = place.phases(locks=FAST | {"attempts": 50})
    again = threading.Event()
    tell = place.heard.note

    def note(message: str) -> None:
        tell(message)
        if "a table is in use" in message:
            again.set()

    place.heard.note = note  # type: ignore[method-assign]
    reports: list[Any] = []
    with long_transaction(place):
        thread = threading.Thread(target=lambda: reports.append(phases.expand("2")))
        thread.start()
        assert again.wait(DEADLINE_S)
    thread.join(DEADLINE_S)
    assert reports[0].attempts > 1


def test_what_the_first_statement_locked_does_not_wait_for_the_second_as_well(make_place: Make) -> None:
    """On PostgreSQL a revision is one transaction: its waits together stay below the timeout, not each of them."""
    place = make_place("postgres")
    imagestore.release_1(place.folder)
    place.phases().expand("1")
    tables = [f"other_{number}" for number in range(12)]
    place.sql(*(f"CREATE TABLE {table} (id integer)" for table in tables))
    lines = "".join(
        f'    op.add_column("{table}", sa.Column("a", sa.Integer))\n' for table in ["images", *tables]
    )
    imagestore.write(
        place.folder, "expand", "r2_expand01", "2", f"def upgrade():\n{lines}", down="r1_expand01"
    )
    phases = place.phases(locks=FAST | {"attempts": 1})
    with (
        long_transaction(place, f"SELECT count(*) FROM {tables[-1]}"),
        Readers(place, "SELECT count(*) FROM images") as readers,
    ):
        with pytest.raises(LockTimeout):
            phases.expand("2")
        written = readers.reads
    assert written > 0
    assert readers.longest_s < SLACK * FAST["timeout"]
    assert "a" not in place.columns("images")


def test_a_second_runner_is_refused_and_told_who_is_at_it(place: Place) -> None:
    database = place.database
    with held(database, name="images", seconds=30, purpose="expand"):
        with pytest.raises(Busy, match=r"pid \d+ has been at expand for \d+ s; wait until it has ended"):
            place.phases().expand("1")
        assert "has been at expand" in (place.phases().status("1").holder or "")
    place.phases().expand("1")
    assert place.phases().status("1").holder is None


@pytest.mark.parametrize("kind", SERVERS)
def test_a_runner_whose_lease_was_taken_stops_before_the_next_statement(kind: str, make_place: Make) -> None:
    place = make_place(kind)
    imagestore.all_releases(place.folder)
    place.phases().expand("1")
    fill(place, 50)
    phases = place.phases(backfill={"batch": 10, "share": 1.0})
    phases.expand("2")

    def steal(progress: object) -> None:
        place.sql("UPDATE hitless_lease SET token = 'other'")

    place.heard.progress = steal  # type: ignore[method-assign,assignment]
    with pytest.raises(LeaseLost, match="another runner has taken the lease"):
        phases.migrate("2")
    assert place.sql("SELECT count(*) FROM images WHERE visibility IS NOT NULL") == [(10,)]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_lease_of_another_machine_is_respected_until_it_has_run_out(kind: str, make_place: Make) -> None:
    place = make_place(kind)
    imagestore.all_releases(place.folder)
    phases = place.phases()
    phases.expand("1")
    assert dying(lambda: place.phases().expand("2"), Recorder, "_write", 1)
    place.sql(f"UPDATE {LEASE.name} SET process = 'elsewhere:1:2', expires_at = expires_at + 3600")
    with pytest.raises(Busy):
        phases.expand("2")
    place.sql(f"UPDATE {LEASE.name} SET expires_at = 0")
    phases.expand("2")


@pytest.mark.parametrize("kind", SERVERS)
def test_an_old_node_that_returns_while_contract_waits_for_a_table_stops_it(
    kind: str, make_place: Make
) -> None:
    place = make_place(kind)
    imagestore.all_releases(place.folder)
    phases = place.phases(locks=FAST | {"attempts": 50})
    phases.expand("2")
    phases.migrate("2")
    phases.backup()
    place.beat("n1", "2")
    tell = place.heard.note

    def note(message: str) -> None:
        tell(message)
        if "a table is in use" in message:
            place.beat("n2", "1")

    place.heard.note = note  # type: ignore[method-assign]
    with long_transaction(place), pytest.raises(Rejected, match="node n2 runs release 1"):
        phases.contract("2")
    assert "is_public" in place.columns("images")
