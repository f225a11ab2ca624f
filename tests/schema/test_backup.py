"""Backups are whole and readable or not there, and bring everything back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitless.schema import Invalid, Rejected, SchemaError
from schema.conftest import Make, Place, fill


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is full after 16 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "hitless-test", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_restored_database_is_as_it_was(place: Place) -> None:
    phases = place.phases()
    phases.expand("2")
    fill(place, 100)
    path = phases.backup().path
    assert path.stat().st_mode & 0o077 == 0, "a backup holds everything there is to know"
    place.sql("DELETE FROM images")
    place.sql("DROP TABLE images")
    phases.restore(path)
    assert place.sql("SELECT count(*) FROM images") == [(100,)]
    place.sql("INSERT INTO images (name, is_public) VALUES ('new', true)")
    assert place.sql("SELECT visibility FROM images WHERE name = 'new'") == [("public",)], (
        "triggers came back too"
    )
    assert phases.status("2").next == "contract"
    assert phases.history(1)[0].phase == "restore"


@pytest.mark.root
def test_a_full_disk_leaves_no_half_backup_and_contract_closed(place: Place, small_disk: Path) -> None:
    phases = place.phases(backup={"folder": str(small_disk / "backups")})
    phases.expand("2")
    fill(place, 60)
    place.sql(*(["INSERT INTO images (name, is_public) SELECT name, is_public FROM images"] * 10))
    with pytest.raises(SchemaError):
        phases.backup()
    assert list(small_disk.rglob("*.*")) == []
    assert phases.history(1)[0].status == "failed"
    with pytest.raises(Rejected, match="backup: there is no backup"):
        phases.contract("2", force=["pending", "assertions", "nodes"])
    assert "is_public" in place.columns("images")


def test_what_is_no_backup_is_refused_and_the_database_untouched(place: Place) -> None:
    phases = place.phases()
    phases.expand("1")
    fill(place, 3)
    with pytest.raises(Invalid, match="is no backup of"):
        phases.restore(place.folder / "holiday.jpg")
    path = phases.backup().path
    broken = path.with_name(f"broken{path.suffix}")
    broken.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SchemaError):
        phases.restore(broken)
    assert place.sql("SELECT count(*) FROM images") == [(3,)]


@pytest.mark.parametrize(("kind", "tool"), [("postgres", "pg_dump"), ("mariadb", "mariadb-dump")])
def test_without_the_tool_it_is_said_which_is_missing(
    kind: str, tool: str, make_place: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(kind)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SchemaError, match=f"{tool} is not installed"):
        place.phases().backup()
