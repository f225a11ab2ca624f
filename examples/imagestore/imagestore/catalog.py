"""The catalogue of images: one SQLite table, shared by all worker processes.

An image is *queued*, then *saving* while one upload has claimed it, then *active*. Each change of state is
one statement whose WHERE names the state (and claim) it starts from, so two uploads of one name cannot both
win, in whatever processes they are.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

CLAIM_S = 3600.0
"""An upload that has not ended after this long lost its process; its claim may be taken over."""
BUSY_S = 10.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS images (
    id      TEXT PRIMARY KEY,
    state   TEXT NOT NULL CHECK (state IN ('queued', 'saving', 'active')),
    size    INTEGER,
    sha256  TEXT,
    claim   TEXT,
    changed REAL NOT NULL
)
"""


class NotFound(LookupError):
    """There is no such image, or it is not active yet."""


class Conflict(Exception):
    """The image exists already, or is being uploaded."""


@dataclass(frozen=True, slots=True)
class Image:
    """One row."""

    id: str
    state: str
    size: int | None
    sha256: str | None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold off other processes that open the same file for the first time: SQLite does not wait for a lock
    while it changes the journal mode, so of two that both find a new file one would fail.
    """
    with open(f"{path}.opening", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Catalog:
    """One connection per process, opened when it is made (so: after the fork), used by any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        with _alone(path):
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def claim(self, image: str) -> str:
        """Queue the image and claim it for saving; the claim.

        Raises:
            Conflict: it is active, or another upload has claimed it.
        """
        now, claim = time.time(), uuid4().hex
        self._change("INSERT OR IGNORE INTO images (id, state, changed) VALUES (?, 'queued', ?)", image, now)
        claimed = self._change(
            "UPDATE images SET state = 'saving', claim = ?, changed = ?"
            " WHERE id = ? AND (state = 'queued' OR (state = 'saving' AND changed < ?))",
            *(claim, now, image, now - CLAIM_S),
        )
        if not claimed:
            raise Conflict(f"image {image} exists or is being uploaded")
        return claim

    def activate(
        self, image: str, claim: str, *, size: int, sha256: str, publish: Callable[[], object]
    ) -> Image:
        """The claimed upload is complete. `publish` makes its content visible, in the same transaction:
        neither is seen without the other, and an upload that lost its claim publishes nothing.

        Raises:
            Conflict: the claim was taken over, or the image deleted.
        """
        with self._transaction() as db:
            active = db.execute(
                "UPDATE images SET state = 'active', size = ?, sha256 = ?, claim = NULL, changed = ?"
                " WHERE claim = ?",
                (size, sha256, time.time(), claim),
            )
            if not active.rowcount:
                raise Conflict(f"image {image} was deleted or taken over during its upload")
            publish()
        return Image(image, "active", size, sha256)

    def release(self, claim: str) -> None:
        """The claimed upload failed: the image is queued again."""
        self._change(
            "UPDATE images SET state = 'queued', claim = NULL, changed = ? WHERE claim = ?",
            time.time(),
            claim,
        )

    def get(self, image: str) -> Image:
        """An active image.

        Raises:
            NotFound: there is none.
        """
        rows = self._query("WHERE id = ? AND state = 'active'", image)
        if not rows:
            raise NotFound(f"no image {image}")
        return rows[0]

    def listing(self, *, after: str = "", limit: int = 100) -> list[Image]:
        """Images in the order of their ids, of any state."""
        return self._query("WHERE id > ? ORDER BY id LIMIT ?", after, limit)

    def delete(self, image: str, *, withdraw: Callable[[], object]) -> None:
        """Forget the image, whatever its state; `withdraw` removes its content in the same transaction.

        Raises:
            NotFound: there is none.
        """
        with self._transaction() as db:
            if not db.execute("DELETE FROM images WHERE id = ?", (image,)).rowcount:
                raise NotFound(f"no image {image}")
            withdraw()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _change(self, statement: str, *values: object) -> int:
        with self._lock:
            return self._db.execute(statement, values).rowcount

    def _query(self, where: str, *values: object) -> list[Image]:
        with self._lock:
            rows = self._db.execute(f"SELECT id, state, size, sha256 FROM images {where}", values)
            return [Image(*row) for row in rows]
