"""Asks databases: resources are SQLAlchemy URLs with the query after `#`.

    postgresql+psycopg://monitor:secret@db/shop#SELECT state AS resource, count(*) AS volume FROM orders GROUP BY state

Each row is a sample. Its value is the column `volume`, or the only numeric one; `resource`, `name`, `unit` and `kind` are taken if
there are columns of these names, and all others are metadata. What the query changes is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, Final, cast

from hitless.agent.polling.pollster import PermanentFailure, Poll, pollster
from hitless.agent.sample import Sample, SampleKind
from hitless.change import JSON
from hitless.config import shown

MOST_ROWS: Final = 100_000
OWN: Final = ("volume", "resource", "name", "unit", "kind")
KINDS: Final = ("gauge", "delta", "cumulative")


class QueryFailed(Exception):
    """The database refused, or its answer is no list of samples."""


@pollster()
def query(poll: Poll) -> Iterator[Sample]:
    for resource in poll.resources:
        url, _, statement = resource.partition("#")
        if not statement.strip():
            raise PermanentFailure([resource], f"{poll.meter} polls URL#QUERY")
        for row in _rows(resource, url, statement):
            yield _sample(poll, str(shown(url)), row)


def _rows(resource: str, url: str, statement: str) -> list[Mapping[str, Any]]:
    """Over a connection of its own: one that is kept would be dead when it is needed, and held for nothing in between."""
    try:
        from sqlalchemy import create_engine, text
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
        from sqlalchemy.pool import NullPool
    except ModuleNotFoundError:
        raise PermanentFailure([resource], "it needs SQLAlchemy; run: pip install 'SQLAlchemy>=2'") from None
    try:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            found = connection.execute(text(statement)).mappings().fetchmany(MOST_ROWS + 1)
            connection.rollback()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise PermanentFailure([resource], str(error)) from None
    except SQLAlchemyError as error:
        raise QueryFailed(f"{shown(url)}: {getattr(error, 'orig', None) or error}") from None
    if len(found) > MOST_ROWS:
        raise QueryFailed(f"{shown(url)}: the query gives more than {MOST_ROWS} rows")
    return [dict(each) for each in found]


def _sample(poll: Poll, url: str, row: Mapping[str, Any]) -> Sample:
    volume = _volume(url, row)
    kind = row.get("kind", "gauge")
    if kind not in KINDS:
        raise QueryFailed(f"{url}: the kind {kind} is none of {', '.join(KINDS)}")
    rest = {key: _plain(value) for key, value in row.items() if key not in OWN and key != volume[0]}
    named = row.get("resource")
    sample = poll.sample(
        volume[1],
        unit=str(row.get("unit", "")),
        resource=url if named is None else f"{url}/{named}",
        kind=cast("SampleKind", kind),
        metadata=rest or None,
    )
    return sample._replace(name=str(row["name"])) if row.get("name") else sample


def _volume(url: str, row: Mapping[str, Any]) -> tuple[str, float]:
    numeric = [key for key, value in row.items() if isinstance(value, Real | Decimal) and key not in OWN]
    key = "volume" if "volume" in row else numeric[0] if len(numeric) == 1 else None
    if key is None:
        raise QueryFailed(
            f"{url}: name the column of the value: SELECT … AS volume (there are: {', '.join(row)})"
        )
    try:
        return key, float(row[key])
    except (TypeError, ValueError):
        raise QueryFailed(f"{url}: the volume {row[key]!r} is no number") from None


def _plain(value: Any) -> JSON:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
