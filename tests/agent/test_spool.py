"""What waits on disk survives everything but the disk: kill -9, half-written records, a full device, a change of owner."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from hitless.agent.publishers.spool import HEAD, LOCK, POSITION, SMALLEST, Full, Room, Spool

BIG = 1 << 30


def spool(folder: Path, size: int = BIG) -> Spool[str]:
    made: Spool[str] = Spool(folder, size=size, sync="never", encode=str, decode=str)
    made.open()
    return made


def drained(queue: Spool[str], count: int = 7) -> list[str]:
    found = []
    while items := queue.read(count):
        found += items
        queue.settle()
    return found


def numbers(first: int, count: int) -> list[str]:
    return [str(number) for number in range(first, first + count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def test_what_is_appended_is_read_in_order_and_again_until_it_is_settled(folder: Path) -> None:
    queue = spool(folder)
    for first in range(0, 30, 3):
        queue.append(numbers(first, 3))
    assert queue.read(7) == numbers(0, 6)
    assert queue.read(7) == numbers(0, 6)
    queue.settle()
    assert queue.count == 24
    assert drained(queue) == numbers(6, 24)
    assert queue.count == 0
    queue.close()
    assert list(folder.iterdir()) == []


def test_any_sequence_of_calls_is_that_of_a_queue(folder: Path) -> None:
    """Against a deque, with closes and take-overs in between."""
    for seed in range(8):
        dice, queue, model = random.Random(seed), spool(folder / str(seed)), deque[str]()
        appended = 0
        for _ in range(300):
            match dice.choice("aaarrsc"):
                case "a":
                    count = dice.randint(1, 9)
                    items = [
                        f"{each} " + "x" * dice.choice([0, 0, 4000]) for each in numbers(appended, count)
                    ]
                    queue.append(items)
                    model += items
                    appended += count
                case "r" | "s":
                    items = queue.read(dice.randint(1, 20))
                    assert items == [model[number] for number in range(len(items))]
                    assert bool(items) == bool(model)
                    for _ in items:
                        model.popleft()
                    queue.settle()
                case "c":
                    queue.close()
                    queue = spool(folder / str(seed))
            assert queue.count == len(model)
        assert drained(queue) == list(model)
        queue.close()


def test_the_space_is_bounded_and_the_oldest_go_and_are_counted(folder: Path) -> None:
    queue = spool(folder, size=4 * SMALLEST)
    dropped = 0
    for number in range(200):
        dropped += queue.append([f"{number:04}" + "x" * 4096])
        used = sum(each.stat().st_size for each in folder.rglob("*") if each.name.isdecimal())
        assert used <= 4 * SMALLEST
    left = [int(each[:4]) for each in drained(queue)]
    assert left == list(range(dropped, 200))
    assert dropped > 100
    queue.close()


def test_what_a_publisher_has_in_hand_is_not_counted_as_dropped(folder: Path) -> None:
    queue = spool(folder, size=2 * SMALLEST)
    queue.append(["first" + "x" * 1000])
    in_hand = queue.read(1)
    dropped = sum(queue.append(["y" * 60_000]) for _ in range(10))
    queue.settle()
    assert len(in_hand) + dropped + len(drained(queue)) == 11
    queue.close()


def test_where_nothing_may_be_dropped_it_is_full(folder: Path) -> None:
    queue = spool(folder, size=SMALLEST)
    queue.append(["x" * 60_000], room=Room.NONE)
    with pytest.raises(Full):
        queue.append(["y" * 60_000], room=Room.NONE)
    assert drained(queue) == ["x" * 60_000]
    queue.append(["y" * 60_000], room=Room.NONE)
    assert drained(queue) == ["y" * 60_000]
    queue.close()


def segments(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.name.isdecimal())


@pytest.mark.parametrize("cut", [1, HEAD.size - 1, HEAD.size, HEAD.size + 5])
def test_half_a_record_at_the_end_is_left_out_and_the_rest_is_there(folder: Path, cut: int) -> None:
    queue = spool(folder)
    queue.append(numbers(0, 4))
    (file,) = segments(folder)
    whole = file.stat().st_size
    queue.append(numbers(4, 4))
    os.truncate(file, whole + cut)
    for each in (queue._lock, queue._writing, queue._position):
        os.close(each)  # as a kill does
    after = spool(folder)
    after.append(numbers(8, 2))
    assert drained(after) == [*numbers(0, 4), *numbers(8, 2)]
    after.close()


def test_a_record_that_was_damaged_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = spool(folder)
    queue.append(numbers(0, 4))
    (file,) = segments(folder)
    whole = file.stat().st_size
    queue.append(numbers(4, 4))
    queue.close()
    with file.open("r+b") as damaged:
        damaged.seek(whole + HEAD.size + 1)
        damaged.write(b"!")
    after = spool(folder)
    assert drained(after) == numbers(0, 4)
    assert "no whole record" in caplog.text
    after.close()


def test_two_have_a_folder_each_and_who_comes_later_takes_over_what_is_left(folder: Path) -> None:
    first, second = spool(folder), spool(folder)
    first.append(numbers(0, 3))
    second.append(numbers(3, 3))
    assert second.take_over() == 0
    first.close()
    assert second.take_over() == 3
    assert drained(second) == [*numbers(3, 3), *numbers(0, 3)]
    second.close()
    assert list(folder.iterdir()) == []


def test_a_foreign_position_reads_from_the_beginning(folder: Path) -> None:
    queue = spool(folder)
    queue.append(numbers(0, 3))
    queue.close()
    (position,) = folder.rglob(POSITION)
    position.write_text("rubbish")
    after = spool(folder)
    assert drained(after) == numbers(0, 3)
    after.close()
    assert not list(folder.rglob(LOCK))


WRITER = """
import sys
from pathlib import Path
from hitless.agent.publishers.spool import Spool

queue = Spool(Path(sys.argv[1]), size=1 << 30, sync="never", encode=str, decode=str)
queue.open()
number = int(sys.argv[2])
while True:
    queue.append([str(number)])
    print(number, flush=True)
    number += 1
    if number % 3 == 0:
        taken = queue.read(2)
        print("taken", *taken, flush=True)
        queue.settle()
"""


def test_a_kill_at_any_instant_loses_nothing_that_was_stored(folder: Path) -> None:
    stored: list[str] = []
    taken: list[str] = []
    first = 0
    for round_ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(first)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for line in writer.stdout:
            if line.startswith("taken"):
                taken += line.split()[1:]
            elif line.endswith("\n"):
                stored.append(line.strip())
            if len(stored) > 300 * (round_ + 1):
                break
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            if line.startswith("taken") and line.endswith("\n"):
                taken += line.split()[1:]
            elif line.endswith("\n"):
                stored.append(line.strip())
        writer.wait()
        writer.stdout.close()
        first = int(stored[-1]) + 2  # one more may have been stored unsaid
    queue = spool(folder)
    left = drained(queue)
    queue.close()
    assert set(stored) <= {*taken, *left}
    assert [int(each) for each in left] == sorted(map(int, left))


def test_without_room_for_another_file_nothing_is_written_into_somebody_elses(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = spool(folder, 16 * SMALLEST)
    queue.append(["x" * (SMALLEST - 100)])

    def full(path: object, *arguments: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:  # a disk without inodes cannot be had between two calls
        patched.setattr(os, "open", full)
        with pytest.raises(OSError, match="no space"):
            queue.append(["y" * 1000])
    other = (tmp_path / "other").open("w+")  # it is given the number that has become free
    queue.append(["z"])
    other.seek(0)
    assert other.read() == ""
    other.close()
    assert drained(queue) == ["x" * (SMALLEST - 100), "z"]
    queue.close()


def test_what_is_left_behind_waits_until_there_is_room_for_it_and_drops_nothing(folder: Path) -> None:
    first, second = spool(folder, 3000), spool(folder, 3000)
    first.append(["a" * 2000])
    second.append(["b" * 2000])
    first.close()
    assert second.take_over() == 0
    assert drained(second) == ["b" * 2000]
    assert second.take_over() == 1
    assert drained(second) == ["a" * 2000]
    second.close()
    assert list(folder.iterdir()) == []


def test_a_length_that_is_none_is_not_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = spool(folder)
    queue.append(numbers(0, 4))
    (file,) = segments(folder)
    queue.close()
    with file.open("ab") as damaged:
        damaged.write(HEAD.pack(2**32 - 1, 0, 1))
    pread, asked = os.pread, []

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        asked.append(length)
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    after = spool(folder)
    assert drained(after) == numbers(0, 4)
    assert max(asked) < 1000
    after.close()
