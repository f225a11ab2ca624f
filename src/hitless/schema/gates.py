"""What must hold before contract removes what only the old release needed. Measured, never assumed: a gate that cannot
be measured does not hold."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from hitless.schema.dialect import Dialect
from hitless.schema.ledger import Ledger
from hitless.schema.project import Project, Release
from hitless.schema.state import ask, open_migrations
from hitless.schema.upgrade import heads
from hitless.schema.usage import Gate, Look

NEVER_FORCED: Final = ("expand",)
"""Without the expand revisions there is nothing that contract could run on."""
SHOWN: Final = 3


class Gates:
    """The gates of the migrations of all releases up to the one that is to be contracted."""

    def __init__(
        self, connection: Connection, dialect: Dialect, *, project: Project, release: Release
    ) -> None:
        self._db: Final = connection
        self._project: Final = project
        self._release: Final = release
        self._ledger: Final = Ledger(connection, dialect)

    def looks(self) -> tuple[Look, ...]:
        return (("expand", self._expand), ("pending", self._pending), ("assertions", self._assertions))

    def _expand(self) -> Gate:
        applied = self._project.ancestors(heads(self._db))
        releases = self._project.up_to(self._release)
        missing = [r.id for release in releases for r in release.expand if r.id not in applied]
        if missing:
            return Gate("expand", False, f"{missing[0]} has not run; run: hitless db expand")
        return Gate("expand", True, "all expand revisions have run")

    def _pending(self) -> Gate:
        migrations = tuple(open_migrations(self._project.up_to(self._release), self._passed()))
        waiting = {each.name: found for each in migrations if (found := ask(self._db, each))}
        if waiting:
            name, found = next(iter(waiting.items()))
            return Gate("pending", False, f"{name}: {_rows(found)} wait; run: hitless db migrate")
        return Gate("pending", True, f"no rows wait in {len(migrations)} data migrations")

    def _passed(self) -> frozenset[str]:
        """Revisions that ran, or began to: what they destroy cannot be asked about any more."""
        applied = self._project.ancestors(heads(self._db))
        return applied | (self._ledger.begun_revisions() if self._ledger.exists else frozenset())

    def _assertions(self) -> Gate:
        passed = self._passed()
        queries = [
            (revision.id, about, query)
            for release in self._project.up_to(self._release)
            for revision in release.contract
            if revision.id not in passed
            for about, query in revision.assertions.items()
        ]
        for revision, about, query in queries:
            if found := violations(self._db, query):
                return Gate("assertions", False, f"{revision} asserts {about!r}; found: {found}")
        return Gate("assertions", True, f"{len(queries)} assertions give no rows")


def violations(connection: Connection, query: str) -> str:
    """The first rows that an assertion's query gives, for people; empty if it gives none."""
    rows = connection.execute(text(query)).fetchmany(SHOWN + 1)
    shown = "; ".join(str(tuple(row)) for row in rows[:SHOWN])
    return f"{shown}; …" if len(rows) > SHOWN else shown


def _rows(found: int | bool) -> str:
    return "rows" if isinstance(found, bool) else f"{found} rows"
