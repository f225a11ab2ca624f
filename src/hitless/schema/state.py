"""Looks at the database: what it is at, and what is left to do up to a release."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from hitless.schema.database import Database
from hitless.schema.errors import SchemaError
from hitless.schema.lease import current_holder
from hitless.schema.ledger import Ledger
from hitless.schema.project import DataMigration, Project, Release
from hitless.schema.report import State
from hitless.schema.upgrade import heads


def look(database: Database, project: Project, release: Release, service: str) -> State:
    """The state; nothing is written, not even the ledger's tables."""
    with database.reading() as connection:
        ledger = Ledger(connection, database.dialect)
        at = heads(connection)
        applied = project.ancestors(at)
        releases = project.up_to(release)
        has_ledger = ledger.exists
        live = tuple(
            open_migrations(releases, applied | (ledger.begun_revisions() if has_ledger else frozenset()))
        )
        askable = [each for each in live if _is_expanded(releases, each.release, applied)]
        done = {name for name, state in ledger.data().items() if state.is_done} if has_ledger else set()
        return State(
            release=release.name,
            heads=at,
            expand=tuple(r.id for each in releases for r in each.expand if r.id not in applied),
            pending={each.name: ask(connection, each) for each in askable},
            unknown=tuple(each.name for each in live if each not in askable),
            contract=tuple(r.id for each in releases for r in each.contract if r.id not in applied),
            interrupted=ledger.open_statements() if has_ledger else 0,
            skipped=tuple(
                each.name
                for rel in releases
                for each in rel.data
                if has_ledger and each not in live and each.name not in done
            ),
            holder=current_holder(connection, database, service),
        )


def open_migrations(releases: tuple[Release, ...], passed: frozenset[str]) -> Iterator[DataMigration]:
    """The data migrations of all releases whose contract has not begun, oldest first: a release that was passed over on
    the way counts like the last one. `passed` are the revisions that ran or began to: once a contract has begun, the
    columns that its data migrations ask about may be gone."""
    for release in releases:
        if any(revision.id not in passed for revision in release.contract):
            yield from release.data


def ask(connection: Connection, migration: DataMigration) -> int | bool:
    """What `pending` says.

    Raises:
        SchemaError: it failed, or said something else.
    """
    try:
        found = migration.pending(connection)
    except SQLAlchemyError as error:
        raise SchemaError("pending_failed", f"{migration.path}: pending() failed: {error}") from error
    if not isinstance(found, int):
        raise SchemaError(
            "pending_failed", f"{migration.path}: pending() must return a number or a bool, not {found!r}"
        )
    return found


def _is_expanded(releases: tuple[Release, ...], name: str, applied: frozenset[str]) -> bool:
    return all(r.id in applied for each in releases if each.name == name for r in each.expand)
