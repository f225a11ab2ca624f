"""Contract destroys nothing before every gate has been measured: each can be seen to hold."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from hitless.schema import Heartbeat, Invalid, Phases, Rejected
from hitless.schema.database import Database
from schema import imagestore
from schema.conftest import KINDS, Make, Place, fill


def ready(place: Place, **settings: Any) -> Phases:
    """A database that lacks nothing for the contract of release 2."""
    imagestore.all_releases(place.folder)
    phases = place.phases(**settings)
    phases.expand("2")
    fill(place, 4)
    phases.migrate("2")
    phases.backup()
    return phases


def becomes_ready(phases: Phases) -> bool:
    """Whether all gates hold, once the server has noticed that sessions were closed."""
    deadline = time.monotonic() + 30
    while closed(phases) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not closed(phases)


def closed(phases: Phases, release: str = "2") -> dict[str, str]:
    return {gate.name: gate.message for gate in phases.gates(release) if not gate.holds}


@pytest.fixture(params=KINDS)
def bare(request: pytest.FixtureRequest, make_place: Make) -> Place:
    return make_place(request.param)


def test_an_old_node_that_comes_back_closes_the_gate(bare: Place) -> None:
    phases = ready(bare)
    with Heartbeat(bare.url, service="images", node="n1", release="2", every_s=0.5):
        assert closed(phases) == {}
        with Heartbeat(bare.url, service="images", node="n2", release="1", every_s=0.5):
            assert "node n2 runs release 1" in closed(phases)["nodes"]
            with pytest.raises(Rejected, match="contract would not be safe: nodes: node n2 runs release 1"):
                phases.contract("2")
        assert "is_public" in bare.columns("images")
        assert phases.contract("2").changed


def test_nobody_known_is_not_everybody_new(bare: Place) -> None:
    phases = ready(bare)
    assert "no node of release 2 has written a heartbeat" in closed(phases)["nodes"]
    phases = bare.phases(heartbeat={})
    assert "nothing tells which releases use the database" in closed(phases)["sessions"]


def test_rows_that_wait_close_the_gate(make_place: Make) -> None:
    place = make_place("sqlite")
    phases = ready(place)
    place.sql("DROP TRIGGER sync_images_visibility_ins_up")
    place.sql("INSERT INTO images (name, is_public) VALUES ('late', 1)")
    found = closed(phases)
    assert found["pending"] == "r2_migrate01: 1 rows wait; run: hitless db migrate"
    assert "r2_contract01 asserts 'every image has a visibility'; found: (5,)" in found["assertions"]
    phases.migrate("2")
    assert "pending" not in closed(phases)


def test_what_cannot_be_measured_does_not_hold(make_place: Make) -> None:
    place = make_place("sqlite")
    phases = ready(place)
    file = place.folder / "migrations/contract/r2_contract01.py"
    file.write_text(
        file.read_text().replace(
            "SELECT id FROM images WHERE visibility IS NULL", "SELECT nothing FROM nowhere"
        )
    )
    assert "cannot be measured" in closed(place.phases())["assertions"]
    assert phases.status("2").next == "contract"


@pytest.mark.parametrize("how", ["none", "changed", "gone", "old"])
def test_only_a_backup_that_can_be_read_opens_the_gate(how: str, make_place: Make) -> None:
    place = make_place("sqlite")
    imagestore.all_releases(place.folder)
    phases = place.phases(backup={"max_age": 0.001} if how == "old" else {})
    phases.expand("2")
    if how != "none":
        path = phases.backup().path
        if how == "changed":
            path.write_bytes(path.read_bytes()[:-1] + b"!")
        if how == "gone":
            path.unlink()
    told = {
        "none": "there is no backup",
        "changed": "has changed since",
        "gone": "cannot be read",
        "old": "s old",
    }
    assert told[how] in closed(phases)["backup"]


def test_a_session_of_an_old_release_closes_the_gate_on_postgres(make_place: Make) -> None:
    place = make_place("postgres")
    ready(place)
    phases = place.phases(sessions={"name": "images/{release}"}, heartbeat={})
    assert becomes_ready(phases)
    for name, told in (("images/1", "(user postgres"), ("strange", "does not say its release")):
        with Database(place.url, program=name).engine.connect():
            assert told in closed(phases)["sessions"]
        assert becomes_ready(phases)
    with Database(place.url, program="images/2").engine.connect():
        assert closed(phases) == {}


def test_a_session_of_an_old_release_closes_the_gate_on_mariadb(make_place: Make) -> None:
    """Names are known with performance_schema on; a session without one could be anybody's."""
    place = make_place("mariadb")
    ready(place)
    phases = place.phases(sessions={"name": "images/{release}"}, heartbeat={})
    assert becomes_ready(phases)
    for name, told in (("images/1", "images/1 (user hitless"), ("", "does not say its release")):
        engine = Database(place.url, program=name).engine
        with engine.connect():
            assert told in closed(phases)["sessions"]
        assert becomes_ready(phases)
    with Database(place.url, program="images/2").engine.connect():
        assert closed(phases) == {}


def test_a_node_that_has_long_said_nothing_is_gone(make_place: Make) -> None:
    place = make_place("sqlite")
    ready(place)
    place.beat("n1", "2")
    place.beat("n2", "1")
    assert "node n2 runs release 1" in closed(place.phases())["nodes"]
    phases = place.phases(
        heartbeat={"required": False, "stale": 0.01}, inventory={"command": ["echo", "n1 2"]}
    )
    assert becomes_ready(phases)


def test_a_node_of_the_inventory_on_an_old_release_closes_the_gate(make_place: Make) -> None:
    place = make_place("sqlite")
    ready(place)
    listing = place.folder / "nodes"
    phases = place.phases(inventory={"command": ["cat", str(listing)]}, heartbeat={})
    assert "cannot be measured: inventory.command exited with 1" in closed(phases)["inventory"]
    listing.write_text("")
    assert "the inventory has no nodes" in closed(phases)["inventory"]
    listing.write_text("n1 2\nn2 1\n")
    assert closed(phases)["inventory"] == "node n2 is on release 1, not 2"
    listing.write_text("n1 2\nn2 3\n")
    assert closed(phases) == {}


def test_force_names_each_gate_and_the_ledger_keeps_it(bare: Place) -> None:
    phases = ready(bare)
    with pytest.raises(Invalid, match="there is no gate everything that could be overridden"):
        phases.contract("2", force=["everything"])
    with pytest.raises(Invalid, match="there is no gate expand"):
        phases.contract("2", force=["expand"])
    with pytest.raises(Rejected, match="nodes"):
        phases.contract("2", force=["backup"])
    report = phases.contract("2", force=["nodes", "backup"])
    assert report.forced == ("nodes",), "backup held, so nothing was overridden there"
    run = phases.history(1)[0]
    assert run.detail["forced"] == ["nodes"]
    assert "nodes" in json.dumps(run.detail["gates"])
    assert [entry.status for entry in phases.history(4)] == ["done", "rejected", "failed", "failed"]


def test_contract_before_expand_is_refused_whatever_is_forced(make_place: Make) -> None:
    place = make_place("sqlite")
    imagestore.all_releases(place.folder)
    phases = place.phases()
    phases.expand("1")
    with pytest.raises(Rejected, match="expand: r2_expand01 has not run"):
        phases.contract("2", force=["nodes", "backup", "pending", "assertions"])


def test_releases_that_cannot_be_taken_together_are_refused(make_place: Make) -> None:
    """Release 3 adds anew what release 2's contract removes: expand would have to contract on the way."""
    place = make_place("sqlite")
    imagestore.release_1(place.folder)
    imagestore.release_2(place.folder)
    body = 'def upgrade():\n    op.add_column("images", sa.Column("is_public", sa.String(3)))\n'
    imagestore.write(
        place.folder, "expand", "r3_expand01", "3", body, down="r2_expand01", depends="r2_contract01"
    )
    phases = place.phases()
    phases.expand("1")
    with pytest.raises(Rejected, match=r"go to release 1 first|go to release 2 first"):
        phases.expand("3")
    assert place.columns("images") == {"id", "name", "is_public", "bytes"}


def test_a_database_of_a_newer_release_is_not_touched(make_place: Make, tmp_path: Path) -> None:
    """Glance's old `db check` answers "first step: expand" after a contract; ours says whose turn it is."""
    place = make_place("sqlite")
    imagestore.all_releases(place.folder)
    place.phases().expand("3")
    for path in (place.folder / "migrations").glob("*/r3_*.py"):
        path.unlink()
    with pytest.raises(Invalid, match=r"which .* does not have; run the newer release's hitless db"):
        place.phases().status()
