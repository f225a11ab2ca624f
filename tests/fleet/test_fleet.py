"""The image store on three nodes behind HAProxy is upgraded under load, and no client notices."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, inspect

from fleet.conftest import Make, Place
from hitless.demo.fleet_load import FleetLoad

pytestmark = pytest.mark.timeout(1800)
KINDS = ["mariadb", "postgres"]


def columns(place: Place, table: str) -> set[str]:
    engine = create_engine(place.fleet.database)
    try:
        return {column["name"] for column in inspect(engine).get_columns(table)}
    finally:
        engine.dispose()


async def settled(place: Place, load: FleetLoad, release: str) -> None:
    """Everybody runs the release, nothing failed, and everything that was acknowledged is there."""
    await load.stop()
    images = await load.check()
    assert not load.failures()
    assert images == len(load.book.rows) > 20
    assert load.uploads >= 3
    assert load.book.writes > 100
    assert set((await place.fleet.releases()).values()) == {release}
    assert place.phases(release).status(release).next is None


async def test_an_upgrade_with_a_destructive_contract_loses_no_request_and_no_row(make_place: Make) -> None:
    async with make_place("mariadb") as place, place.load(upload_s=3.0) as load:
        await load.load.warm(60)
        await place.rollout("2")
        await settled(place, load, "2")
        assert columns(place, "images") >= {"visibility"}
        assert "is_public" not in columns(place, "images")


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
async def test_two_upgrades_in_a_row_with_both_releases_serving_for_minutes(
    kind: str, make_place: Make
) -> None:
    """With uploads of 30 s: a drain waits for them."""
    async with make_place(kind) as place, place.load(upload_s=30.0) as load:
        await load.load.warm(60)
        await place.rollout("2", soak=40.0)
        assert set((await place.fleet.releases()).values()) == {"2"}
        await place.rollout("3", soak=40.0)
        await settled(place, load, "3")
        assert columns(place, "images") == {"id", "name", "visibility", "state", "claim"}


@pytest.mark.soak
async def test_without_draining_the_same_upgrade_loses_requests(make_place: Make) -> None:
    """The control: what the tests above assert can fail."""
    async with make_place("postgres") as place, place.load(upload_s=10.0) as load:
        await load.load.warm(60)
        await place.rollout("2", drained=False)
        await load.stop()
        assert load.failures()
