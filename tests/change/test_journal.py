"""The journal against what happens to files: kill -9, full disks, damage, other users, other processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitless.change import Difference, Journal, JournalUnwritable, Outcome, Plan

ROOT = Path(__file__).parents[2]


def plan(number: int = 2, **more: object) -> Plan:
    return Plan(
        kind="reload", from_generation=1, to_generation=number, settings={"generation": number}, **more
    )  # type: ignore[arg-type]


def apply(journal: Journal, number: int) -> int:
    row = journal.begin(plan(number), "tests")
    journal.finish(row, Outcome.applied(number), {"prepare": 1.5})
    return row


def child(script: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    preamble = (
        "import os, signal, sys, time\nfrom hitless.change import *\n"
        "def plan(n): return Plan(kind='reload', from_generation=1, to_generation=n, settings={'generation': n})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", preamble + script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def test_an_attempt_is_kept_with_all_that_is_known_of_it(journal: Journal) -> None:
    attempted = plan(
        differences=(Difference("workers", 1, 2),),
        applied_hash="a" * 64,
        attempted_hash="b" * 64,
        steps=("fork",),
    )
    row = journal.begin(attempted, "uid 0 (pid 7)")
    assert journal.entries()[0].status == "open"
    outcome = Outcome.rejected(1, reason="import_failed", message="no module app", detail="Traceback …")
    journal.finish(row, outcome, {"plan": 0.25, "prepare": 1.5})
    journal.drained(row, finished=1, handed_over=2, cut=3, seconds=4.5)
    (entry,) = journal.entries()
    assert (entry.requested_by, entry.status, entry.generation, entry.reason) == (
        "uid 0 (pid 7)",
        "rejected",
        1,
        "import_failed",
    )
    assert (entry.message, entry.detail, entry.timings) == (
        "no module app",
        "Traceback …",
        {"plan": 0.25, "prepare": 1.5},
    )
    assert entry.plan == attempted.to_json()
    assert entry.drained is not None
    assert (entry.drained.cut, entry.drained.seconds) == (3, 4.5)
    assert entry.finished_at is not None
    assert entry.finished_at >= entry.at
    assert entry.to_json()["drained"] == {"finished": 1, "handed_over": 2, "cut": 3, "seconds": 4.5}


def test_entries_come_newest_first_and_no_more_than_asked_for(journal: Journal) -> None:
    rows = [apply(journal, number) for number in range(2, 7)]
    assert [entry.id for entry in journal.entries(3)] == rows[:1:-1]
    assert journal.entries(0) == ()


def test_what_was_applied_last_survives_a_restart(journal: Journal) -> None:
    assert journal.applied() is None
    apply(journal, 2)
    row = apply(journal, 3)
    journal.finish(journal.begin(plan(4), "x"), Outcome.rejected(3, reason="bad", message="no"), {})
    journal.finish(
        journal.begin(Plan(kind="stop", from_generation=3, to_generation=3), "x"), Outcome.applied(3), {}
    )
    journal.close()
    again = Journal(journal.path)
    applied, before = again.applied(), again.applied_before()
    assert applied is not None
    assert before is not None
    assert (applied.change, applied.generation, applied.settings) == (row, 3, {"generation": 3})
    assert before.settings == {"generation": 2}
    again.close()


def test_the_journal_is_bounded_and_keeps_what_was_applied(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite", keep=5)
    apply(journal, 2)
    apply(journal, 3)
    for number in range(4, 60):
        row = journal.begin(plan(number), "x")
        journal.finish(row, Outcome.rejected(3, reason="bad", message="no"), {})
    statuses = [entry.status for entry in journal.entries(100)]
    assert statuses == ["rejected"] * 5 + ["applied"] * 2
    applied, before = journal.applied(), journal.applied_before()
    assert applied is not None
    assert before is not None
    assert (applied.generation, before.generation) == (3, 2)
    with sqlite3.connect(journal.path) as db:
        assert db.execute("SELECT count(*) FROM settings").fetchone() == (7,)
    journal.close()


def test_the_files_stay_small_however_often_it_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite", keep=10)
    for number in range(300):
        row = journal.begin(plan(number), "x" * 1000)
        journal.finish(row, Outcome.rejected(1, reason="bad", message="no", detail="x" * 200_000), {})
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 16 * 1024 * 1024
    assert len(journal.entries(1)[0].detail) == 16 * 1024
    journal.close()


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        journal = Journal(tmp_path / "state" / "deep" / "j.sqlite")
        apply(journal, 2)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in journal.path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
    journal.close()


def test_rows_that_a_killed_process_left_open_are_marked_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    process = child(
        "j = Journal(sys.argv[1]); j.finish(j.begin(plan(2), 'x'), Outcome.applied(2), {})\n"
        "j.begin(plan(3), 'x'); print('open', flush=True); time.sleep(60)",
        path,
    )
    says(process, "open")
    running = Journal(path)
    assert [entry.status for entry in running.entries()] == ["open", "applied"]
    running.close()
    process.send_signal(signal.SIGKILL)
    process.wait()
    journal = Journal(path)
    assert [entry.status for entry in journal.entries()] == ["interrupted", "applied"]
    assert journal.entries()[0].message == "the process died during the change"
    applied = journal.applied()
    assert applied is not None
    assert applied.generation == 2
    journal.close()


def test_no_row_that_was_written_is_lost_by_kill_at_any_moment(tmp_path: Path) -> None:
    """A child writes and says what it has written; it is killed after a while, again and again."""
    path, known = tmp_path / "j.sqlite", 0
    for pause_s in (0.0, 0.003, 0.01, 0.03, 0.05):
        process = child(
            "j = Journal(sys.argv[1], keep=100000)\nprint('ready', flush=True)\n"
            "while True:\n"
            "    row = j.begin(plan(2), 'x'); print('begun', row, flush=True)\n"
            "    j.finish(row, Outcome.applied(2), {}); print('applied', row, flush=True)\n",
            path,
        )
        says(process, "ready")
        time.sleep(pause_s)
        process.kill()
        assert process.stdout is not None
        told = [line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 1]
        process.wait()
        journal = Journal(path)
        assert journal.set_aside is None
        found = {entry.id: entry.status for entry in journal.entries(100_000)}
        for word, row in told:
            assert found[int(row)] in (("applied",) if word == "applied" else ("applied", "interrupted"))
        assert "open" not in found.values()
        assert len(found) >= known
        known = len(found)
        journal.close()


def test_a_program_that_replaces_itself_by_exec_goes_on_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    script = (
        "import os, sys\nfrom hitless.change import *\n"
        "if len(sys.argv) == 2:\n"
        "    row = Journal(sys.argv[1]).begin(Plan(kind='upgrade', from_generation=1, to_generation=2), 'x')\n"
        "    os.execv(sys.executable, [sys.executable, '-c', os.environ['SCRIPT'], sys.argv[1], str(row)])\n"
        "j = Journal(sys.argv[1]); print(j.entries()[0].status)\n"
        "j.finish(int(sys.argv[2]), Outcome.applied(2), {}); print(j.entries()[0].status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, path],
        env={**os.environ, "SCRIPT": script},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.split() == ["open", "applied"]


@pytest.mark.parametrize("damage", ["text", "zeros", "middle", "truncated", "empty table"])
def test_a_damaged_journal_is_set_aside_and_keeps_nothing_from_running(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    for number in range(200):
        apply(journal, number)
    journal.close()
    content = bytearray(path.read_bytes())
    match damage:
        case "text":
            content = bytearray(b"this is no database\n" * 1000)
        case "zeros":
            content = bytearray(len(content))
        case "middle":
            content[4096 : len(content) - 4096] = os.urandom(len(content) - 8192)
        case "truncated":
            content = content[: len(content) // 2]
        case "empty table":
            content = content[:4096]
    path.write_bytes(content)
    again = Journal(path)
    assert again.set_aside is not None
    assert again.set_aside.read_bytes() == content
    assert str(again.set_aside) in caplog.text
    assert again.entries() == ()
    apply(again, 2)
    again.close()
    assert Journal(path).entries()[0].status == "applied"


def test_two_damaged_journals_of_one_second_are_both_kept(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    kept = []
    for text in (b"one" * 1000, b"two" * 1000, b"three" * 1000):
        path.write_bytes(text)
        journal = Journal(path, clock=lambda: 1.7e9)
        assert journal.set_aside is not None
        kept.append((journal.set_aside, text))
        journal.close()
    assert all(aside.read_bytes() == text for aside, text in kept)


def test_a_journal_that_gets_damaged_while_it_is_open_is_set_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    row = journal.begin(plan(2), "x")
    for name in (path, Path(f"{path}-wal")):
        name.write_bytes(b"\xff" * name.stat().st_size)
    journal.finish(row, Outcome.applied(2), {})
    apply(journal, 3)
    assert journal.entries(1)[0].status == "applied"
    journal.close()


def test_a_journal_of_a_newer_version_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    journal = Journal(path)
    assert journal.set_aside is not None
    apply(journal, 2)
    journal.close()


def test_a_journal_that_is_deleted_while_it_is_open_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    apply(journal, 2)
    for each in tmp_path.iterdir():
        each.unlink()
    apply(journal, 3)
    assert [entry.generation for entry in Journal(path).entries()] == [3]
    journal.close()


def test_a_lock_held_by_another_process_is_waited_for_and_then_told(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(journal, 2)
    journal.close()
    monkeypatch.setattr("hitless.change.journal.BUSY_TIMEOUT_S", 0.1)
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    again = Journal(journal.path)
    with pytest.raises(JournalUnwritable, match="locked by another process"):
        apply(again, 3)
    other.execute("ROLLBACK")
    apply(again, 3)
    again.close()
    other.close()


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def apply_many(journal: Journal, numbers: range) -> None:
    for number in numbers:
        apply(journal, number)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.root
def test_a_full_disk_is_told_and_when_there_is_space_again_it_goes_on(small_disk: Path) -> None:
    journal = Journal(small_disk / "j.sqlite")
    apply(journal, 2)
    filler = small_disk / "filler"
    fill(filler)
    with pytest.raises(JournalUnwritable, match="is full; free some space"):
        apply_many(journal, range(3, 100))
    before = len(journal.entries(1000))
    filler.unlink()
    apply(journal, 100)
    assert len(journal.entries(1000)) >= before
    assert journal.set_aside is None
    journal.close()
    assert Journal(small_disk / "j.sqlite").entries(1)[0].generation == 100


@pytest.mark.root
def test_a_disk_that_is_full_from_the_start_is_told(small_disk: Path) -> None:
    filler = small_disk / "filler"
    fill(filler)
    with pytest.raises(JournalUnwritable, match="full; free some space"):
        Journal(small_disk / "j.sqlite")


@pytest.mark.root
def test_a_read_only_file_system_is_told(small_disk: Path) -> None:
    journal = Journal(small_disk / "j.sqlite")
    apply(journal, 2)
    journal.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(JournalUnwritable, match="cannot be written"):
        Journal(small_disk / "j.sqlite")


@pytest.mark.root
def test_a_folder_of_another_user_is_told(public_path: Path) -> None:
    process = child(
        "os.setgid(12345); os.setuid(12345)\n"
        "try: Journal(sys.argv[1])\n"
        "except JournalUnwritable as error: print(error)",
        public_path / "j.sqlite",
    )
    told, _ = process.communicate()
    assert told.strip().endswith("make it and its folder writable for uid 12345")


def test_a_link_in_place_of_the_journal_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "j.sqlite").symlink_to(target)
    with pytest.raises(JournalUnwritable):
        Journal(tmp_path / "j.sqlite")
    assert target.read_text() == "precious"


def test_those_who_only_look_change_nothing(journal: Journal) -> None:
    row = journal.begin(plan(2), "x")
    reader = Journal(journal.path, readonly=True)
    assert reader.entries()[0].id == row
    with pytest.raises(JournalUnwritable):
        reader.begin(plan(3), "x")
    journal.finish(row, Outcome.applied(2), {})
    assert reader.entries()[0].status == "applied"
    reader.close()


def test_looking_at_a_journal_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(JournalUnwritable):
        Journal(tmp_path / "j.sqlite", readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_names_with_odd_characters_are_files_too(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20 ü" / "j.sqlite"
    journal = Journal(path)
    apply(journal, 2)
    journal.close()
    assert path.exists()
    shutil.rmtree(path.parent)


def test_a_rollback_goes_back_to_settings_that_differ(journal: Journal) -> None:
    for number in (2, 3, 3, 3):
        apply(journal, number)
    before = journal.applied_before()
    assert before is not None
    assert before.settings == {"generation": 2}


def test_a_closed_journal_is_not_opened_again_by_accident(journal: Journal) -> None:
    apply(journal, 2)
    journal.close()
    journal.close()
    with pytest.raises(JournalUnwritable, match="is closed"):
        apply(journal, 3)


def test_text_that_is_no_unicode_is_kept_readable(journal: Journal) -> None:
    row = journal.begin(plan(2), "user \udcff")
    journal.finish(row, Outcome.rejected(1, reason="bad", message="/srv/\udcfe is bad", detail="\ud800"), {})
    (entry,) = journal.entries()
    assert (entry.requested_by, entry.message) == ("user \\udcff", "/srv/\\udcfe is bad")


def test_what_is_there_can_be_read_while_another_process_writes(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(journal, 2)
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert journal.entries()[0].status == "applied"
    assert journal.applied() is not None
    other.execute("ROLLBACK")
    other.close()
