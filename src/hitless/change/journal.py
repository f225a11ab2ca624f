"""The journal: one row for every attempted change, kept through crashes, in one SQLite file.

Guarantees:

1. A row that `begin`, `finish` or `drained` has written survives a crash of the process and a loss of
   power: the write-ahead log is used with synchronous=FULL. (NORMAL would be as consistent, but forgets the
   last rows when the power goes. Changes are rare, so one more fsync costs nothing that anyone can
   measure.)
2. A row that its process left open by dying is marked `interrupted` when the journal is next opened.
3. A file that is no journal, is damaged, or comes from a newer version is set aside under another name and
   a new one is begun: it is never deleted and never keeps a service from running.
4. The file keeps the last `keep` rows, and besides them the settings that were applied last and before that.
5. It is readable by its owner only (0600): applied settings may hold secrets.

Methods are blocking, each one short transaction; `Transactions` calls them in a thread, because an fsync
may take long.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from hitless.change.deadline import Clock
from hitless.change.entry import Applied, Entry, to_entry
from hitless.change.outcome import Outcome
from hitless.change.plan import Plan
from hitless.change.process import identity, is_alive
from hitless.change.wire import JSON, canonical, digest

log = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_TIMEOUT_S: Final = 2.0
DETAIL_LIMIT: Final = 16 * 1024
"""Characters; the end of a traceback says most."""
SCHEMA_VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS settings (hash TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS change (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    owner TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    plan TEXT NOT NULL,
    settings TEXT REFERENCES settings (hash),
    finished_at REAL,
    status TEXT,
    generation INTEGER,
    reason TEXT,
    message TEXT,
    detail TEXT,
    timings TEXT,
    drained TEXT
);
"""
DAMAGED: Final = "the journal file is damaged"
NEWER: Final = "the journal was written by a newer version"
SELECT_APPLIED: Final = (
    "SELECT c.id, c.at, c.generation, s.hash, s.json FROM change c JOIN settings s ON s.hash = c.settings"
)
APPLIED: Final = "SELECT id FROM change WHERE status = 'applied' AND settings IS NOT NULL"
LAST_APPLIED: Final = f"{APPLIED} ORDER BY id DESC LIMIT 1"
# The change that made the generation that serves; it may have been scaled since.
LAST_MADE: Final = f"{APPLIED} AND json_extract(plan, '$.kind') <> 'scale' ORDER BY id DESC LIMIT 1"
APPLIED_BEFORE: Final = (
    f"{APPLIED} AND id < ({LAST_MADE})"
    f" AND settings NOT IN (SELECT settings FROM change WHERE id IN (({LAST_APPLIED}), ({LAST_MADE})))"
    " ORDER BY id DESC LIMIT 1"
)


class JournalUnwritable(Exception):
    """The journal cannot be written; the message says why and what to do."""


class Journal:
    """The journal of one service. Opened by the service; `readonly=True` is for those who only look.

    Raises:
        JournalUnwritable: on opening and on every write, if the disk is full, the file or its folder cannot
            be written, or another process keeps it locked.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep: int = 1000,
        readonly: bool = False,
        clock: Clock = time.time,
    ) -> None:
        self.path: Final = Path(path)
        self.set_aside: Path | None = None
        """Where a damaged journal was moved to, if there was one since this was opened."""
        self._keep: Final = max(1, keep)
        self._readonly: Final = readonly
        self._clock: Final = clock
        self._owner: Final = identity() or f"?:{os.getpid()}:?"
        self._lock: Final = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._is_closed = False
        with self._lock:
            self._guarded(self._connected)

    def begin(self, plan: Plan, requested_by: str) -> int:
        """Write that a change begins; returns the number of its row."""

        def write(db: sqlite3.Connection) -> int:
            settings = self._store_settings(db, plan)
            row = db.execute(
                "INSERT INTO change (at, owner, requested_by, plan, settings) VALUES (?, ?, ?, ?, ?)"
                " RETURNING id",
                (self._clock(), self._owner, _text(requested_by), _text(canonical(plan.to_json())), settings),
            ).fetchone()
            self._prune(db)
            return int(row[0])

        return self._write(write)

    def finish(self, id: int, outcome: Outcome, timings: Mapping[str, float]) -> None:  # noqa: A002
        """Write how the change ended, and how many seconds each phase took."""
        columns: dict[str, object] = {
            "finished_at": self._clock(),
            "status": outcome.status.value,
            "generation": outcome.generation,
            "reason": outcome.reason,
            "message": _text(outcome.message),
            "detail": _text(outcome.detail[-DETAIL_LIMIT:]),
            "timings": canonical({name: round(seconds, 6) for name, seconds in timings.items()}),
        }
        self._update(id, columns)

    def drained(self, id: int, *, finished: int, handed_over: int, cut: int, seconds: float) -> None:  # noqa: A002
        """Write how the old generation's work ended: connections that finished, moved to the new one, or were cut."""
        counts: JSON = {"finished": finished, "handed_over": handed_over, "cut": cut, "seconds": seconds}
        self._update(id, {"drained": canonical(counts)})

    def entries(self, limit: int = 20) -> tuple[Entry, ...]:
        """The last `limit` rows, newest first."""
        query = "SELECT * FROM change ORDER BY id DESC LIMIT ?"
        return tuple(to_entry(row) for row in self._read(query, max(0, limit)))

    def applied(self) -> Applied | None:
        """The settings that were last applied, or None if none ever were."""
        return self._applied(f"c.id = ({LAST_APPLIED})")

    def applied_before(self, is_other: Callable[[Applied], bool] = lambda _: True) -> Applied | None:
        """The settings of the last generation that ran on others than the one that serves, or None: what a
        rollback goes back to. Going back to the same ones (those of the start before this one, say) would
        undo nothing; `is_other` may know of more that are as good as the same.
        """
        before = self._all_applied(f"c.id <= ({APPLIED_BEFORE}) AND c.status = 'applied' ORDER BY c.id DESC")
        return next(filter(is_other, before), None)

    def _applied(self, where: str) -> Applied | None:
        return next(iter(self._all_applied(where)), None)

    def _all_applied(self, where: str) -> Iterator[Applied]:
        for row in self._read(f"{SELECT_APPLIED} WHERE {where}"):
            yield Applied(row["id"], row["at"], row["generation"], row["hash"], json.loads(row["json"]))

    def close(self) -> None:
        """Let go of the file; whatever is asked of the journal after it raises JournalUnwritable."""
        with self._lock, suppress(sqlite3.Error):
            self._is_closed = True
            self._disconnect()

    def _store_settings(self, db: sqlite3.Connection, plan: Plan) -> str | None:
        if plan.settings is None:
            return None
        key = plan.attempted_hash or digest(plan.settings)
        db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (key, _text(canonical(plan.settings))))
        return key

    def _prune(self, db: sqlite3.Connection) -> None:
        kept = f"(({LAST_APPLIED}), ({LAST_MADE}), ({APPLIED_BEFORE}))"
        db.execute(
            # IFNULL: with no settings before these, one of them is NULL, and NOT IN would never be true.
            f"DELETE FROM change WHERE id <= (SELECT max(id) FROM change) - ? AND IFNULL(id NOT IN {kept}, 1)",
            (self._keep,),
        )
        db.execute(
            "DELETE FROM settings WHERE hash NOT IN (SELECT settings FROM change WHERE settings IS NOT NULL)"
        )

    def _update(self, id: int, columns: dict[str, object]) -> None:  # noqa: A002
        names = ", ".join(f"{name} = ?" for name in columns)
        self._write(lambda db: db.execute(f"UPDATE change SET {names} WHERE id = ?", (*columns.values(), id)))

    def _read(self, query: str, *values: object) -> list[sqlite3.Row]:
        """All rows of a query, which is a transaction of its own."""
        with self._lock:
            return self._guarded(lambda: self._connected().execute(query, values).fetchall())

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, once it is on the disk; all of it or nothing."""

        def transact() -> T:
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            return result

        with self._lock:
            return self._guarded(transact)

    def _guarded(self, work: Callable[[], T]) -> T:
        """Run `work`; set a damaged file aside and try once more; say every other trouble in words."""
        try:
            try:
                return work()
            except sqlite3.DatabaseError as error:
                if self._readonly or not _is_damaged(error):
                    raise
                self._put_aside(str(error))
                return work()
        except (sqlite3.Error, OSError) as error:
            raise JournalUnwritable(_explain(self.path, error)) from error

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that has the journal's name now; someone may have removed or replaced it."""
        if self._is_closed:
            raise JournalUnwritable(f"the journal {self.path} is closed")
        if self._connection is not None and _inode(self.path) == self._inode:
            return self._connection
        self._disconnect()
        self._connection = self._open()
        self._inode = _inode(self.path)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if not self._readonly:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        mode = "ro" if self._readonly else "rw"
        db = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.row_factory = sqlite3.Row
            if not self._readonly:
                self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 1048576")
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError(DAMAGED)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(NEWER)
        if version < SCHEMA_VERSION:
            db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        self._mark_interrupted(db)

    def _mark_interrupted(self, db: sqlite3.Connection) -> None:
        for row in db.execute("SELECT id, owner FROM change WHERE status IS NULL").fetchall():
            if row["owner"] != self._owner and not is_alive(row["owner"]):
                db.execute(
                    "UPDATE change SET status = 'interrupted', finished_at = ?, reason = 'interrupted',"
                    " message = 'the process died during the change' WHERE id = ?",
                    (self._clock(), row["id"]),
                )

    def _put_aside(self, why: str) -> None:
        self._disconnect()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._clock()))
        target = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        count = 1
        while target.exists():
            count += 1
            target = self.path.with_name(f"{self.path.name}.damaged-{stamp}-{count}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{target}{suffix}")
        self.set_aside = target
        log.warning(
            "the journal %s cannot be used (%s); it was kept as %s and a new one begun",
            self.path,
            why,
            target,
        )


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or str(error) in (DAMAGED, NEWER)


def _text(text: str) -> str:
    """The text as SQLite takes it: names of files may hold bytes that are no UTF-8 (lone surrogates)."""
    return text.encode("utf-8", "backslashreplace").decode()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _explain(path: Path, error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL") or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of the journal {path} is full; free some space and try again"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) or isinstance(error, PermissionError):
        remedy = f"make it and its folder writable for uid {os.geteuid()}"
        return f"the journal {path} cannot be written ({error}); {remedy}"
    if name.startswith("SQLITE_BUSY"):
        return f"the journal {path} is locked by another process; end that or use another state directory"
    return f"the journal {path} cannot be written: {error}"
