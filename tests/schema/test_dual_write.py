"""An old and a new column stay in step, both ways, whichever release writes."""

from __future__ import annotations

from typing import Any

import pytest

from hitless.schema import DualWrite, Invalid
from schema.conftest import Place, fill


def row(place: Place, name: str) -> tuple[bool, str]:
    found: Any = place.sql("SELECT is_public, visibility FROM images WHERE name = :name", name=name)
    return bool(found[0][0]), found[0][1]


def test_both_releases_see_what_the_other_writes(place: Place) -> None:
    place.phases().expand("2")
    place.sql("INSERT INTO images (name, is_public) VALUES ('a', true)")
    assert row(place, "a") == (True, "public"), "the old release inserts"
    place.sql("INSERT INTO images (name, visibility) VALUES ('b', 'public')")
    assert row(place, "b") == (True, "public"), "the new release inserts, and does not know the old column"
    place.sql("UPDATE images SET is_public = false WHERE name = 'a'")
    assert row(place, "a") == (False, "private"), "the old release updates"
    place.sql("UPDATE images SET visibility = 'private' WHERE name = 'b'")
    assert row(place, "b") == (False, "private"), "the new release updates"
    place.sql("UPDATE images SET is_public = false, visibility = 'public' WHERE name = 'b'")
    assert row(place, "b") == (True, "public"), "both change: the new one wins"
    place.sql("UPDATE images SET bytes = 7")
    assert row(place, "a") == (False, "private")


def test_what_only_the_new_release_can_say_survives(place: Place) -> None:
    """`down` is not the inverse of `up`: shared is not public, and must not become private."""
    place.phases().expand("2")
    place.sql("INSERT INTO images (name, visibility) VALUES ('a', 'shared')")
    assert row(place, "a") == (False, "shared")
    place.sql("UPDATE images SET bytes = 1 WHERE name = 'a'")
    place.sql("UPDATE images SET is_public = false WHERE name = 'a'")
    assert row(place, "a") == (False, "shared"), "the old release writes what it reads"


def test_a_backfill_leaves_the_old_column_alone(place: Place) -> None:
    phases = place.phases()
    phases.expand("1")
    fill(place, 20)
    before = place.sql("SELECT id, is_public FROM images ORDER BY id")
    phases.expand("2")
    phases.migrate("2")
    assert place.sql("SELECT id, is_public FROM images ORDER BY id") == before


def test_names_are_checked() -> None:
    with pytest.raises(Invalid, match="is no name of a table or column"):
        DualWrite(table="t; DROP TABLE u", old="a", new="b", up="1", down="1")
