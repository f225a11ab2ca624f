"""The image store on three nodes behind HAProxy is upgraded under load, and no client notices."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, inspect

from fleet.conftest import Make, Place

pytestmark = pytest.mark.timeout(900)


def columns(place: Place, table: str) -> set[str]:
    engine = create_engine(place.fleet.database)
    try:
        return {column["name"] for column in inspect(engine).get_columns(table)}
    finally:
        engine.dispose()


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
async def test_two_upgrades_in_a_row_lose_no_request_and_no_row(kind: str, make_place: Make) -> None:
    async with make_place(kind) as place:
        async with place.load(upload_s=3.0) as load:
            await load.load.warm(60)
            await place.rollout("2")
            assert set((await place.fleet.releases()).values()) == {"2"}
            await place.rollout("3")
            await load.stop()
            images = await load.check()
        assert not load.failures()
        assert images == len(load.book.rows) > 20
        assert load.uploads >= 3
        assert load.book.writes > 100
        assert set((await place.fleet.releases()).values()) == {"3"}
        assert columns(place, "images") == {"id", "name", "visibility", "state", "claim"}
        assert place.phases("3").status().next is None
