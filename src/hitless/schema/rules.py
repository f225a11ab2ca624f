"""The rules of lint: what is unsafe while two releases run on one schema, on which database, and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hitless.schema.project import Branch
from hitless.schema.statement import Action, Statement

CONTRACT: Final = "do it in the contract revision of this release, when no node of the old one is left"


@dataclass(frozen=True, slots=True)
class Context:
    branch: Branch
    database: str
    made_here: frozenset[str]
    """Tables that the same revision makes: nobody uses them yet."""


@dataclass(frozen=True, slots=True)
class Advice:
    why: str
    instead: str


Look = Callable[[Context, Statement, Action], Advice | None]


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    look: Look


def _drop(context: Context, statement: Statement, action: Action) -> Advice | None:
    dropped = action.verb in ("drop", "drop_column", "truncate") and action.kind in (
        "table",
        "column",
        "view",
        "",
    )
    if context.branch == "expand" and dropped:
        return Advice("expand may only add: nodes of the old release still read and write this", CONTRACT)
    return None


def _rename(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb not in ("rename_column", "rename_table", "rename"):
        return None
    if action.verb == "rename" and action.kind in ("index", "key", "constraint"):
        return None
    what = "column" if action.verb == "rename_column" else "table"
    return Advice(
        "whichever release does not know the name fails at once, in any phase",
        f"add the new {what} in expand, keep both in step (DualWrite), move the rows in migrate, drop the old one in contract",
    )


def _change_type(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb != "change_type" and not (action.verb == "change_column" and context.database == "mysql"):
        return None
    if action.table in context.made_here or (context.branch == "contract" and action.verb == "change_column"):
        return None
    return Advice(
        "most changes of a type rewrite the table while nobody can write it, and the old release reads another type",
        "add a new column in expand, keep both in step (DualWrite), move the rows in migrate, drop the old one in contract",
    )


def _not_null(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb == "set_not_null" and context.database == "postgresql" and context.branch == "contract":
        return Advice(
            "it reads the whole table while nobody can read or write it",
            "op.execute('ALTER TABLE t ADD CONSTRAINT c CHECK (x IS NOT NULL) NOT VALID') in expand, VALIDATE CONSTRAINT and then"
            " SET NOT NULL in contract, which finds the constraint and reads nothing",
        )
    if action.verb == "set_not_null" and context.branch == "expand":
        return Advice("the old release may write nulls", CONTRACT)
    return None


def _required_column(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb != "add_column" or not action.has("NOT", "NULL") or action.table in context.made_here:
        return None
    if "DEFAULT" in action.words or "GENERATED" in action.words or "AUTO_INCREMENT" in action.words:
        return None
    return Advice(
        "rows that the old release inserts do not have it, so its inserts fail",
        "let it take nulls, or give it a server_default; SET NOT NULL in contract",
    )


def _volatile_default(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb != "add_column" or "DEFAULT" not in action.words or action.table in context.made_here:
        return None
    after = action.words[action.words.index("DEFAULT") + 1 :]
    is_call = len(after) > 1 and (after[1] == "(" or after[0] == "(")
    if not is_call or after[0] in ("NOW", "CURRENT_TIMESTAMP", "CURRENT_DATE"):
        return None
    return Advice(
        "a default that differs from row to row is computed for all of them while nobody can write the table",
        "add the column without a default, set the default by a statement of its own, and fill the rows in migrate",
    )


def _generated(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb != "add_column" or action.table in context.made_here:
        return None
    if (
        ("GENERATED" in action.words and "STORED" in action.words)
        or "AUTO_INCREMENT" in action.words
        or _is_serial(action)
    ):
        return Advice(
            "its value is computed for every row while nobody can write the table",
            "add a plain column in expand, fill it by triggers (DualWrite) and in migrate",
        )
    return None


def _is_serial(action: Action) -> bool:
    return any(word in ("SERIAL", "BIGSERIAL", "SMALLSERIAL") for word in action.words)


def _index(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb != "create" or action.kind != "index" or action.table in context.made_here:
        return None
    if context.database != "postgresql" or statement.is_concurrent:
        return None
    return Advice(
        "nobody can write the table while the index is built",
        "with op.get_context().autocommit_block(): op.create_index(…, postgresql_concurrently=True)",
    )


def _constraint(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb != "add_constraint" or action.table in context.made_here or context.database == "sqlite":
        return None
    if action.kind in ("foreign key", "check"):
        if context.database != "postgresql" or action.has("NOT", "VALID"):
            return None
        return Advice(
            "all rows are checked while nobody can write the table",
            "op.execute('ALTER TABLE … ADD CONSTRAINT … NOT VALID') in expand and op.execute('ALTER TABLE … VALIDATE CONSTRAINT …')"
            " in contract",
        )
    if action.kind in ("unique", "exclude", "primary key") and context.database == "postgresql":
        if action.has("USING", "INDEX"):
            return None
        return Advice(
            "its index is built while nobody can read or write the table",
            "build a unique index concurrently, then ADD CONSTRAINT … UNIQUE USING INDEX",
        )
    return None


def _narrowing_constraint(context: Context, statement: Statement, action: Action) -> Advice | None:
    if (
        context.branch == "expand"
        and action.verb == "add_constraint"
        and action.table not in context.made_here
    ):
        return Advice("the old release does not know the constraint, and may write what it forbids", CONTRACT)
    return None


def _copying(context: Context, statement: Statement, action: Action) -> Advice | None:
    if context.database != "mysql" or not statement.is_definition or action.table in context.made_here:
        return None
    words = "".join(word for each in statement.actions for word in (*each.words, " "))
    if "ALGORITHM=COPY" in words or "LOCK=EXCLUSIVE" in words or "LOCK=SHARED" in words:
        return Advice(
            "others cannot write the table while it is copied",
            "leave ALGORITHM and LOCK out, or say ALGORITHM=INSTANT",
        )
    return None


def _data(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb not in ("update", "delete") or action.table in context.made_here:
        return None
    return Advice(
        "one statement over the whole table locks its rows until it ends, and cannot go on where it stopped",
        "write a data migration: backfill = Backfill(table=…, set={…}, where=…)",
    )


def _forced_creation(context: Context, statement: Statement, action: Action) -> Advice | None:
    if action.verb == "create" and action.kind == "table" and action.has("OR", "REPLACE"):
        return Advice("what stands in a table of this name is lost", "op.create_table without OR REPLACE")
    return None


def _enum_value(context: Context, statement: Statement, action: Action) -> Advice | None:
    if statement.first == "ALTER" and action.kind == "type" and action.verb == "rename":
        return Advice(
            "the old release does not know the new name", "add a value in expand, drop the type in contract"
        )
    return None


def _json_type(context: Context, statement: Statement, action: Action) -> Advice | None:
    if context.database == "postgresql" and action.verb == "add_column" and "JSON" in action.words:
        return Advice(
            "json has no equality, so SELECT DISTINCT of the old release fails on the table", "use jsonb"
        )
    return None


RULES: Final = (
    Rule("expand_drops", _drop),
    Rule("rename", _rename),
    Rule("change_type", _change_type),
    Rule("not_null", _not_null),
    Rule("required_column", _required_column),
    Rule("volatile_default", _volatile_default),
    Rule("generated_column", _generated),
    Rule("create_index", _index),
    Rule("validating_constraint", _constraint),
    Rule("expand_constrains", _narrowing_constraint),
    Rule("copying_algorithm", _copying),
    Rule("data_in_revision", _data),
    Rule("replaced_table", _forced_creation),
    Rule("renamed_enum", _enum_value),
    Rule("json_column", _json_type),
)
