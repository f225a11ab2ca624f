"""Whether a statement has taken effect, seen from the schema: the world is the truth, the ledger a hint.

MariaDB commits each definition by itself, so a runner that dies in one does not know whether it happened. A
definition is atomic, however: all of its clauses took effect or none, and looking at one of them tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection, inspect
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import NoSuchTableError

from hitless.schema.dialect import Dialect
from hitless.schema.statement import Action, Statement, Verb


def has_happened(connection: Connection, dialect: Dialect, statement: Statement) -> bool | None:
    """None: the schema does not tell. Repeating is harmless then only if `is_repeatable` says so."""
    inspector = inspect(connection)
    seen = [
        seen
        for action in statement.actions
        if (seen := _seen(inspector, connection, dialect, action)) is not None
    ]
    return all(seen) if seen else None


def is_repeatable(statement: Statement) -> bool:
    """Whether doing it a second time changes nothing more: it states what a column shall be, or has IF (NOT) EXISTS,
    or OR REPLACE."""
    return bool(statement.actions) and all(
        action.verb
        in ("change_column", "change_type", "set_not_null", "drop_not_null", "set_default", "truncate")
        or action.has("IF", "NOT", "EXISTS")
        or action.has("IF", "EXISTS")
        or action.has("OR", "REPLACE")
        for action in statement.actions
    )


def _seen(inspector: Inspector, connection: Connection, dialect: Dialect, action: Action) -> bool | None:
    if action.verb in ("create", "drop"):
        there = _is_there(inspector, connection, dialect, action)
        return None if there is None else there == (action.verb == "create")
    look = LOOKS.get(action.verb)
    return None if look is None else look(inspector, action)


def _is_there(inspector: Inspector, connection: Connection, dialect: Dialect, action: Action) -> bool | None:
    if action.kind == "table":
        return inspector.has_table(action.name)
    if action.kind == "view":
        return action.name in inspector.get_view_names()
    if action.kind == "trigger":
        return action.name in set(dialect.triggers(connection))
    if action.kind == "index":
        if action.name in dialect.invalid_indexes(connection):
            return False
        tables = [action.table] if action.table else inspector.get_table_names()
        return any(action.name in _indexes(inspector, table) for table in tables)
    return None


def _indexes(inspector: Inspector, table: str) -> set[str | None]:
    try:
        unique = {each["name"] for each in inspector.get_unique_constraints(table)}
        return {each["name"] for each in inspector.get_indexes(table)} | unique
    except NoSuchTableError:
        return set()


def _columns(inspector: Inspector, table: str) -> set[str]:
    try:
        return {each["name"] for each in inspector.get_columns(table)}
    except NoSuchTableError:
        return set()


def _constraints(inspector: Inspector, table: str) -> set[str | None]:
    try:
        checks = {each["name"] for each in inspector.get_check_constraints(table)}
        foreign = {each["name"] for each in inspector.get_foreign_keys(table)}
    except NoSuchTableError:
        return set()
    return _indexes(inspector, table) | checks | foreign


def _added_constraint(inspector: Inspector, action: Action) -> bool | None:
    if action.kind == "primary key":
        return bool(inspector.get_pk_constraint(action.table)["constrained_columns"])
    return action.name in _constraints(inspector, action.table) if action.name else None


def _dropped_constraint(inspector: Inspector, action: Action) -> bool | None:
    if action.kind == "primary key":
        return not inspector.get_pk_constraint(action.table)["constrained_columns"]
    return action.name not in _constraints(inspector, action.table) if action.name else None


def _renamed_column(inspector: Inspector, action: Action) -> bool:
    columns = _columns(inspector, action.table)
    return action.to in columns and action.name not in columns


def _renamed_table(inspector: Inspector, action: Action) -> bool:
    return inspector.has_table(action.to) and not inspector.has_table(action.name)


LOOKS: Final[Mapping[Verb, Callable[[Inspector, Action], bool | None]]] = {
    "add_column": lambda inspector, action: action.name in _columns(inspector, action.table),
    "drop_column": lambda inspector, action: action.name not in _columns(inspector, action.table),
    "rename_column": _renamed_column,
    "rename_table": _renamed_table,
    "rename": lambda inspector, action: _renamed_table(inspector, action) if action.kind == "table" else None,
    "add_constraint": _added_constraint,
    "drop_constraint": _dropped_constraint,
}
