"""Rows that are brought up to date in batches of keys, while others read and write the table.

A batch is a range of the key, found through its index whatever the rows in it look like, so that a batch costs the same where
few rows are pending. A pass goes up to the key that is the last one when it begins, so that it ends however fast
rows are added; what was added or missed is the next pass's. Where the batch ended is written in the batch's own
transaction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.sql.compiler import IdentifierPreparer

from hitless.change import JSON
from hitless.schema.errors import Invalid

NAME: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)?")
COLUMN: Final = re.compile(r"\{([^\W\d]\w*)\}")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did."""

    rows: int
    """Rows that were changed."""
    keys: int
    """Keys that were gone over; 0 when the pass has ended."""
    checkpoint: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """`UPDATE table SET set WHERE where`, in batches.

    Raises:
        Invalid: a name is none.
    """

    table: str
    key: str = "id"
    """The primary key's column, or another unique and indexed one without nulls."""
    set: Mapping[str, str]
    """SQL per column; other columns are written in braces: `{"visibility": "case when {is_public} then …"}`."""
    where: str
    """SQL that is true for the rows that wait; columns in braces. It must be false for a row that has been set."""

    def __post_init__(self) -> None:
        for name in (self.table, self.key, *self.set):
            if not NAME.fullmatch(name):
                raise Invalid("invalid_name", f"{name!r} is no name of a table or column")

    def pending(self, connection: Connection) -> int:
        """How many rows wait."""
        quoted = self._quoted(connection)
        query = f"SELECT count(*) FROM {quoted.table} WHERE {quoted.where}"
        return int(connection.execute(text(query)).scalar_one())

    def run(self, connection: Connection, batch: int, checkpoint: Mapping[str, JSON]) -> Batch:
        """One batch in the caller's transaction, after the checkpoint of the one before it; {} begins a pass."""
        quoted = self._quoted(connection)
        last, end = checkpoint.get("last"), checkpoint.get("end")
        if end is None:
            end = connection.execute(text(quoted.last_key)).scalar()
            if end is None:
                return Batch(0, 0, {})
        upper, keys = self._range(connection, quoted, last, end, batch)
        if not keys:
            return Batch(0, 0, {})
        values = {"upper": upper, **({} if last is None else {"last": last})}
        lower = "" if last is None else f"{quoted.key} > :last AND "
        update = (
            f"UPDATE {quoted.table} SET {quoted.set} WHERE {lower}{quoted.key} <= :upper AND ({quoted.where})"
        )
        rows = connection.execute(text(update), values).rowcount
        return Batch(rows, keys, {"last": _plain(upper), "end": _plain(end)})

    def _range(
        self, connection: Connection, quoted: _Quoted, last: Any, end: Any, batch: int
    ) -> tuple[Any, int]:
        """The last key of the batch that begins behind `last`, and how many keys it has."""
        lower = "" if last is None else f"{quoted.key} > :last AND "
        inner = f"SELECT {quoted.key} AS k FROM {quoted.table} WHERE {lower}{quoted.key} <= :end ORDER BY 1 LIMIT {batch:d}"
        values = {"end": end, **({} if last is None else {"last": last})}
        # Not max(k), which PostgreSQL does not have for uuid.
        query = f"SELECT k, count(*) OVER () FROM ({inner}) AS found ORDER BY k DESC LIMIT 1"
        row = connection.execute(text(query), values).one_or_none()
        return (None, 0) if row is None else (row[0], int(row[1]))

    def _quoted(self, connection: Connection) -> _Quoted:
        preparer = connection.dialect.identifier_preparer
        return _Quoted(
            table=".".join(preparer.quote(part) for part in self.table.split(".")),
            key=preparer.quote(self.key),
            set=", ".join(
                f"{preparer.quote(name)} = {_sql(value, preparer)}" for name, value in self.set.items()
            ),
            where=_sql(self.where, preparer),
        )


@dataclass(frozen=True, slots=True)
class _Quoted:
    """As this database writes it."""

    table: str
    key: str
    set: str
    where: str

    @property
    def last_key(self) -> str:
        return f"SELECT {self.key} FROM {self.table} ORDER BY {self.key} DESC LIMIT 1"


def with_columns(sql: str, row: str, preparer: IdentifierPreparer) -> str:
    """The columns in braces as those of `row` (`NEW`, `OLD`), or of the table itself if it is empty."""
    before = f"{row}." if row else ""
    return COLUMN.sub(lambda match: before + preparer.quote(match[1]), sql)


def _sql(sql: str, preparer: IdentifierPreparer) -> str:
    # A colon would begin a parameter; PostgreSQL's casts have two, which are none.
    return re.sub(r"(?<!:):(?!:)(?=\w)", r"\\:", with_columns(sql, "", preparer))


def _plain(key: Any) -> JSON:
    return key if isinstance(key, int | str) or key is None else str(key)
