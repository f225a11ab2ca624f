"""Two columns kept in step by triggers, both ways, while an old and a new release write the same table.

The rules, the same on every database:

* INSERT: a row that brings the new column gives the old one its value; one that does not gets the new column from the
  old one. So the new column must have no default and take nulls until contract.
* UPDATE: whichever column changed gives its value to the other; if both did, the new one wins. Nothing is done where
  the two are in step already, so that a backfill (`set new = up`) fires nothing and `down` need not undo `up` exactly.

Call `create(op)` in an expand revision and `drop(op)` in the contract revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy.sql.compiler import IdentifierPreparer

from hitless.schema.backfill import NAME, Backfill, with_columns
from hitless.schema.errors import Invalid

NAME_LIMIT: Final = 63
"""Characters of a name on PostgreSQL; MariaDB takes one more."""


class Operations(Protocol):
    """What is needed of alembic's `op`."""

    def execute(self, sqltext: str, /) -> None: ...
    def get_context(self) -> Context: ...


class Context(Protocol):
    @property
    def dialect(self) -> DialectInUse: ...


class DialectInUse(Protocol):
    name: str
    identifier_preparer: IdentifierPreparer


@dataclass(frozen=True, slots=True, kw_only=True)
class DualWrite:
    """`old` and `new` are columns of `table`; `up` is SQL for the new one, `down` for the old one, both with the row's
    columns in braces: `up="case when {is_public} then 'public' else 'private' end"`.

    Raises:
        Invalid: a name is none.
    """

    table: str
    old: str
    new: str
    up: str
    down: str
    key: str = "id"
    """The primary key: SQLite's triggers find their row by it."""

    def __post_init__(self) -> None:
        for name in (self.table, self.old, self.new, self.key):
            if not NAME.fullmatch(name) or "." in name:
                raise Invalid("invalid_name", f"{name!r} is no name of a table or column")

    def backfill(self) -> Backfill:
        """The data migration that goes with it: rows of before the triggers."""
        return Backfill(
            table=self.table, key=self.key, set={self.new: self.up},
            where=f"{{{self.new}}} IS NULL AND ({self.up}) IS NOT NULL",
        )  # fmt: skip

    def create(self, op: Operations) -> None:
        """Install the triggers."""
        for statement in self.statements(op):
            op.execute(_literal(statement))

    def drop(self, op: Operations) -> None:
        """Remove the triggers."""
        dialect = op.get_context().dialect
        quote = dialect.identifier_preparer.quote
        for name in TRIGGERS[dialect.name](self, dialect.identifier_preparer):
            on = f" ON {quote(self.table)}" if dialect.name == "postgresql" else ""
            op.execute(_literal(f"DROP TRIGGER IF EXISTS {quote(name)}{on}"))
        if dialect.name == "postgresql":
            op.execute(_literal(f"DROP FUNCTION IF EXISTS {quote(self.name('fn'))}()"))

    def statements(self, op: Operations) -> tuple[str, ...]:
        """The SQL that installs the triggers."""
        dialect = op.get_context().dialect
        made = TRIGGERS.get(dialect.name)
        if made is None:
            raise Invalid("unknown_database", f"no triggers are known for {dialect.name}")
        function = _function(self, dialect.identifier_preparer) if dialect.name == "postgresql" else ()
        return (*function, *made(self, dialect.identifier_preparer).values())

    def name(self, kind: str) -> str:
        """Of a trigger: `sync_TABLE_NEW_KIND`, cut where a database would cut it."""
        return f"sync_{self.table}_{self.new}"[: NAME_LIMIT - len(kind) - 1] + f"_{kind}"


@dataclass(frozen=True, slots=True)
class _Parts:
    """The pieces of a trigger as one database writes them."""

    table: str
    key: str
    old: str
    new: str
    up: str
    down: str

    @classmethod
    def of(cls, pair: DualWrite, preparer: IdentifierPreparer) -> _Parts:
        up, down = (f"({with_columns(sql, 'NEW', preparer)})" for sql in (pair.up, pair.down))
        table, key, old, new = (preparer.quote(name) for name in (pair.table, pair.key, pair.old, pair.new))
        return cls(table, key, old, new, up, down)


def _function(pair: DualWrite, preparer: IdentifierPreparer) -> Iterator[str]:
    p = _Parts.of(pair, preparer)
    changed = "{0} IS DISTINCT FROM {1}".format
    body = (
        f"BEGIN IF TG_OP = 'INSERT' THEN"
        f" IF NEW.{p.new} IS NULL THEN NEW.{p.new} := {p.up};"
        f" ELSIF {changed(f'NEW.{p.new}', p.up)} THEN NEW.{p.old} := {p.down}; END IF;"
        f" ELSIF {changed(f'NEW.{p.new}', f'OLD.{p.new}')} THEN"
        f" IF {changed(f'NEW.{p.new}', p.up)} THEN NEW.{p.old} := {p.down}; END IF;"
        f" ELSIF {changed(f'NEW.{p.old}', f'OLD.{p.old}')} THEN NEW.{p.new} := {p.up}; END IF;"
        f" RETURN NEW; END"
    )
    name = preparer.quote(pair.name("fn"))
    yield f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $sync$ {body} $sync$"


def _postgres(pair: DualWrite, preparer: IdentifierPreparer) -> dict[str, str]:
    p, name = _Parts.of(pair, preparer), pair.name("trg")
    function = preparer.quote(pair.name("fn"))
    return {
        name: f"CREATE TRIGGER {preparer.quote(name)} BEFORE INSERT OR UPDATE ON {p.table}"
        f" FOR EACH ROW EXECUTE FUNCTION {function}()"
    }


def _mariadb(pair: DualWrite, preparer: IdentifierPreparer) -> dict[str, str]:
    p = _Parts.of(pair, preparer)
    differs = "NOT ({0} <=> {1})".format
    insert = (
        f"IF NEW.{p.new} IS NULL THEN SET NEW.{p.new} = {p.up};"
        f" ELSEIF {differs(f'NEW.{p.new}', p.up)} THEN SET NEW.{p.old} = {p.down}; END IF"
    )
    update = (
        f"IF {differs(f'NEW.{p.new}', f'OLD.{p.new}')} THEN"
        f" IF {differs(f'NEW.{p.new}', p.up)} THEN SET NEW.{p.old} = {p.down}; END IF;"
        f" ELSEIF {differs(f'NEW.{p.old}', f'OLD.{p.old}')} THEN SET NEW.{p.new} = {p.up}; END IF"
    )
    events = {"ins": ("INSERT", insert), "upd": ("UPDATE", update)}
    return {
        pair.name(
            kind
        ): f"CREATE TRIGGER {preparer.quote(pair.name(kind))} BEFORE {event} ON {p.table} FOR EACH ROW {body}"
        for kind, (event, body) in events.items()
    }


def _sqlite(pair: DualWrite, preparer: IdentifierPreparer) -> dict[str, str]:
    """Its triggers cannot change the row at hand, so they update it afterwards. What that fires finds the two in step."""
    p = _Parts.of(pair, preparer)
    row = f"WHERE {p.key} = NEW.{p.key}"
    up = f"UPDATE {p.table} SET {p.new} = {p.up} {row};"
    down = f"UPDATE {p.table} SET {p.old} = {p.down} {row};"
    out_of_step = f"NEW.{p.new} IS NOT {p.up}"
    new_changed, old_changed = f"NEW.{p.new} IS NOT OLD.{p.new}", f"NEW.{p.old} IS NOT OLD.{p.old}"
    rules = {
        "ins_up": ("INSERT", f"NEW.{p.new} IS NULL", up),
        "ins_down": ("INSERT", f"NEW.{p.new} IS NOT NULL AND {out_of_step}", down),
        "upd_up": ("UPDATE", f"{old_changed} AND NOT ({new_changed}) AND {out_of_step}", up),
        "upd_down": ("UPDATE", f"{new_changed} AND {out_of_step}", down),
    }
    return {
        pair.name(kind): f"CREATE TRIGGER {preparer.quote(pair.name(kind))} AFTER {event} ON {p.table}"
        f" FOR EACH ROW WHEN {when} BEGIN {body} END"
        for kind, (event, when, body) in rules.items()
    }


def _literal(sql: str) -> str:
    """For `op.execute`, to which a colon begins a parameter."""
    return sql.replace(":", "\\:")


TRIGGERS: Final[Mapping[str, Callable[[DualWrite, IdentifierPreparer], dict[str, str]]]] = {
    "postgresql": _postgres,
    "mysql": _mariadb,
    "mariadb": _mariadb,
    "sqlite": _sqlite,
}
