"""A queue of samples or events in files: what waits for a publisher survives a kill -9, in bounded space.

    FOLDER/NUMBER-PID/lock        locked by who writes here
    FOLDER/NUMBER-PID/0000000001  segments: records, each with its length, a checksum and how many items it holds
    FOLDER/NUMBER-PID/position    how far the oldest segment has been read

Every outlet has a folder of its own. It takes over what others have left behind: those that were killed, and those that had to end
before their publisher took everything. Not safe in threads: calls come one after the other.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from hitless.agent.definition import Sync

log = logging.getLogger(__name__)

T = TypeVar("T")

HEAD: Final = struct.Struct("<III")
"""Length of the payload, its checksum, its items."""
SEGMENTS: Final = 16
"""Into so many the space is divided: the oldest one goes when there is no more room."""
SMALLEST: Final = 64 * 1024
SYNC_S: Final = 1.0
LOCK: Final = "lock"
POSITION: Final = "position"
MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


class Room(Enum):
    """Where room for more is taken from when there is none."""

    OLDEST = auto()
    """They are dropped."""
    NONE = auto()
    """There is none: `Full`."""
    ANY = auto()
    """It becomes larger than it should: for what is in memory when the outlet closes, and would be lost."""


class Full(Exception):
    """There is no room, and nothing may be dropped."""


@dataclass(slots=True)
class Segment:
    path: Path
    size: int = 0
    """Bytes that are valid."""
    count: int = 0
    """Items that were not read yet."""


class Spool(Generic[T]):
    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        sync: Sync,
        encode: Callable[[T], Any],
        decode: Callable[[Any], T],
    ) -> None:
        self._folder: Final = folder
        self._size = size
        self._sync: Sync = sync
        self._encode: Final = encode
        self._decode: Final = decode
        self._segments: Final[deque[Segment]] = deque()
        self._mine = folder
        self._lock = self._writing = self._reading = self._position = -1
        self._offset = 0
        """In the oldest segment."""
        self._ahead: list[int] = []
        """What was given out and is not settled yet: so many items of each segment, the oldest first."""
        self._end = 0
        """The offset after it, in the last of those."""
        self._next = 1
        self._synced = 0.0

    @property
    def count(self) -> int:
        """Items that wait."""
        return sum(each.count for each in self._segments)

    @property
    def size(self) -> int:
        """Bytes of files."""
        return sum(each.size for each in self._segments)

    @property
    def folder(self) -> Path:
        return self._mine

    def open(self) -> None:
        """Take a folder: one that was left behind, or a new one. Raises OSError."""
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        left = _left_behind(self._folder)
        first = next(left, None)
        if first is None:
            path = self._folder / f"{time.time_ns()}-{os.getpid()}-{id(self):x}"
            path.mkdir(mode=FOLDER_MODE)
            first = path, _locked(path)
        self._mine, self._lock = first
        left.close()
        try:
            self._load()
            self.take_over()
        except BaseException:
            self.close()
            raise

    def take_over(self) -> int:
        """Append what is left behind in other folders of this queue; how many items that is. What does not fit stays there.

        Raises OSError.
        """
        found = 0
        for path, lock in _left_behind(self._folder, self._mine):
            other = Spool[T](
                self._folder, size=self._size, sync=self._sync, encode=self._encode, decode=self._decode
            )
            other._mine, other._lock = path, lock
            try:
                other._load()
                while items := other.read(1000):
                    self.append(items, room=Room.NONE)
                    found += len(items)
                    other.settle()
            except Full:
                break
            finally:
                other.close()
        return found

    def append(self, items: Sequence[T], *, room: Room = Room.OLDEST) -> int:
        """Store these after all others; how many of the oldest were dropped for them.

        Raises:
            Full: there is no room for them (`Room.NONE`). They are not stored.
            OSError: they could not be written, and are not stored.
        """
        payload = json.dumps([self._encode(each) for each in items], separators=(",", ":")).encode()
        record = HEAD.pack(len(payload), zlib.crc32(payload), len(items)) + payload
        dropped = self._make_room(len(record), room)
        segment = self._segment(len(record))
        try:
            left = memoryview(record)
            while left:
                left = left[os.write(self._writing, left) :]
            self._force()
        except OSError:
            os.ftruncate(self._writing, segment.size)
            raise
        segment.size += len(record)
        segment.count += len(items)
        return dropped

    def read(self, count: int) -> list[T]:
        """The oldest, at most `count` or one record. They are given again until `settle` is called."""
        found: list[T] = []
        ahead: list[int] = []
        offset = end = self._offset
        for segment in self._segments:
            before = len(found)
            with segment.path.open("rb", buffering=0) as file:
                while offset < segment.size:
                    record = _record(file.fileno(), offset)
                    if record is None:
                        raise OSError(
                            f"{segment.path} cannot be read at {offset}: it was changed by somebody else"
                        )
                    if found and len(found) + record[1] > count:
                        break
                    found += [self._decode(each) for each in json.loads(record[0])]
                    offset += HEAD.size + len(record[0])
            ahead.append(len(found) - before)
            end = offset
            if offset < segment.size:
                break
            offset = 0
        self._ahead, self._end = ahead, end
        return found

    def settle(self) -> None:
        """What was read last is done with."""
        ahead, self._ahead = self._ahead, []
        for items in ahead:
            segment = self._segments[0]
            segment.count -= items
            is_last = len(self._segments) == 1
            if segment.count or (is_last and segment.size < self._limit):
                self._offset = self._end
                self._note()
                break
            self._drop_oldest()

    def close(self) -> None:
        """What waits stays for who opens this queue next."""
        is_empty = not self.count
        for each in (self._writing, self._position):
            if each >= 0:
                os.close(each)
        self._writing = self._position = -1
        if is_empty and self._lock >= 0:
            _remove(self._mine)
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    @property
    def _limit(self) -> int:
        """Bytes of a segment."""
        return max(SMALLEST, self._size // SEGMENTS)

    def _load(self) -> None:
        """What is there, as far as it is whole: the end of the newest segment may be half a record."""
        self._position = os.open(self._mine / POSITION, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        name, offset = _position(self._position)
        for path in sorted(each for each in self._mine.iterdir() if each.name.isdecimal()):
            first = offset if path.name == name else 0
            if name and path.name < name:
                path.unlink()
                continue
            segment = _scanned(path, first)
            if segment.count:
                if not self._segments:
                    self._offset = first
                self._segments.append(segment)
            else:
                path.unlink()
            self._next = int(path.name) + 1

    def _make_room(self, more: int, room: Room) -> int:
        dropped = 0
        while room is not Room.ANY and self._segments and self.size + more > self._size:
            if room is Room.NONE and self.count:
                raise Full
            # What a publisher has in hand just now is not lost with its segment.
            in_hand = self._ahead.pop(0) if self._ahead else 0
            dropped += self._segments[0].count - in_hand
            self._drop_oldest()
        return dropped

    def _drop_oldest(self) -> None:
        segment = self._segments.popleft()
        self._offset = 0
        if not self._segments and self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
        segment.path.unlink(missing_ok=True)

    def _segment(self, more: int) -> Segment:
        """That which is written to now."""
        if self._writing >= 0 and self._segments and self._segments[-1].size + more <= self._limit:
            return self._segments[-1]
        # Forgotten first: if there is no room for another file, its number is somebody else's by the next call.
        full, self._writing = self._writing, -1
        if full >= 0:
            os.close(full)
        path = self._mine / f"{self._next:010}"
        self._next += 1
        self._writing = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        segment = Segment(path)
        self._segments.append(segment)
        return segment

    def _force(self) -> None:
        now = time.monotonic()
        if self._sync == "always" or (self._sync == "second" and now - self._synced >= SYNC_S):
            os.fdatasync(self._writing)
            self._synced = now

    def _note(self) -> None:
        """One small write: a kill leaves the old one or the new one. What is lost of it in a power failure comes twice."""
        os.pwrite(self._position, f"{self._segments[0].path.name} {self._offset:>20}\n".encode(), 0)


def _left_behind(folder: Path, but: Path | None = None) -> Generator[tuple[Path, int], None, None]:
    """Folders that nobody has locked, the oldest first, each locked now."""
    for path in sorted(each for each in folder.iterdir() if each.is_dir() and each != but):
        lock = _locked(path)
        if lock >= 0:
            yield path, lock


def _locked(path: Path) -> int:
    """The lock of the folder, or -1 if somebody has it or has just removed the folder."""
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == (path / LOCK).stat().st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return -1


def _remove(folder: Path) -> None:
    for each in [*folder.iterdir()]:
        each.unlink(missing_ok=True)
    folder.rmdir()


def _record(file: int, offset: int) -> tuple[bytes, int] | None:
    """The payload there and its number of items, if it is whole."""
    head = os.pread(file, HEAD.size, offset)
    if len(head) < HEAD.size:
        return None
    length, checksum, items = HEAD.unpack(head)
    if length > os.fstat(file).st_size - offset:
        return None  # not asked for: what is no length may be gigabytes
    payload = os.pread(file, length, offset + HEAD.size)
    return (payload, items) if len(payload) == length and zlib.crc32(payload) == checksum else None


def _scanned(path: Path, offset: int) -> Segment:
    """Up to the first record that is not whole; what follows it cannot be read."""
    segment = Segment(path, offset)
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while (record := _record(file.fileno(), segment.size)) is not None:
            segment.size += HEAD.size + len(record[0])
            segment.count += record[1]
    if segment.size < size:
        log.warning(
            "the last %d bytes of %s are no whole record, and are left out", size - segment.size, path
        )
    return segment


def _position(file: int) -> tuple[str, int]:
    """Segment and offset; nothing has been read if it is not there or not whole."""
    name, _, offset = os.pread(file, 64, 0).decode(errors="replace").strip().partition(" ")
    return (name, int(offset)) if name.isdecimal() and offset.strip().isdecimal() else ("", 0)
