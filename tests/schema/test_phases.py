"""Expand, migrate, contract on every database: what each does, in which order, and that it can be run again."""

from __future__ import annotations

import pytest

from hitless.schema import Heartbeat, Rejected
from schema.conftest import Place, fill


def test_a_release_goes_through_all_phases_and_loses_nothing(place: Place) -> None:
    phases = place.phases()
    assert phases.status("1").next == "expand"
    phases.expand("1")
    fill(place, 500)
    report = phases.expand("2")
    assert report.revisions == ("r2_expand01",)
    assert {"visibility", "is_public"} <= place.columns("images")
    state = phases.status("2")
    assert (state.next, dict(state.pending)) == ("migrate", {"r2_migrate01": 500})
    assert phases.migrate("2").rows == {"r2_migrate01": 500}
    assert place.sql("SELECT visibility, count(*) FROM images GROUP BY visibility ORDER BY 1") == [
        ("private", 333),
        ("public", 167),
    ]
    phases.backup()
    with Heartbeat(place.url, service="images", node="n1", release="2"):
        assert phases.contract("2").revisions == ("r1_contract01", "r2_contract01")
    assert "is_public" not in place.columns("images")
    assert phases.status("2").next is None
    assert place.sql("SELECT count(*) FROM images") == [(500,)]
    assert [run.phase for run in reversed(phases.history())] == [
        "expand",
        "expand",
        "migrate",
        "backup",
        "contract",
    ]
    assert {run.status for run in phases.history()} == {"done"}


def test_every_phase_can_be_run_again_and_then_does_nothing(place: Place) -> None:
    phases = place.phases()
    phases.expand("2")
    assert not phases.expand("2").changed
    fill(place, 10)
    phases.migrate("2")
    assert not phases.migrate("2").changed
    phases.backup()
    with Heartbeat(place.url, service="images", node="n1", release="2"):
        assert phases.contract("2").changed
        assert not phases.contract("2").changed


def test_releases_between_are_migrated_too(place: Place) -> None:
    """Glance's `db migrate` looks at the current release only, and lost rows when releases were passed over."""
    phases = place.phases()
    phases.expand("1")
    fill(place, 30)
    phases.expand("3")
    assert phases.migrate("3").rows == {"r2_migrate01": 30, "r3_migrate01": 30}
    phases.backup()
    with Heartbeat(place.url, service="images", node="n1", release="3"):
        phases.contract("3")
    assert place.sql("SELECT count(*) FROM images WHERE visibility IS NULL OR kib IS NULL") == [(0,)]


def test_migrate_refuses_before_expand(place: Place) -> None:
    with pytest.raises(Rejected, match="r1_expand01 has not run yet; run: hitless db expand"):
        place.phases().migrate("1")
