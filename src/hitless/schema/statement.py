"""What a statement of a migration does, as far as its text tells: for the ledger, for lint, and for looking whether it
has taken effect already.

Read by a tokenizer of our own and a table of shapes: it has to tell apart what migrations do, not to parse SQL.
A statement that no shape fits is `other`, and nobody pretends to know what it did.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

TOKEN: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)"""
    r"""|(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]+\])"""
    r"""|(?P<string>'(?:[^'\\]|''|\\.)*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"""|(?P<word>[^\W\d][\w$]*)|(?P<number>\d[\w.]*)|(?P<sign>::|<>|!=|<=|>=|.)""",
    re.DOTALL | re.VERBOSE,
)
READS: Final = frozenset(
    {"SELECT", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "PRAGMA", "SET", "VALUES", "TABLE"}
)
CONTROL: Final = frozenset({"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "START", "USE"})
DEFINITIONS: Final = frozenset(
    {"CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "COMMENT", "GRANT", "REVOKE", "REINDEX"}
)
OBJECTS: Final = (
    "TABLE", "INDEX", "VIEW", "TRIGGER", "FUNCTION", "PROCEDURE", "SEQUENCE", "TYPE", "SCHEMA", "EVENT", "DATABASE", "EXTENSION",
)  # fmt: skip
FILLING: Final = frozenset(
    {"OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL", "TEMPORARY", "TEMP", "UNLOGGED", "IF", "NOT", "EXISTS", "CONCURRENTLY",
     "ONLY", "ONLINE", "OFFLINE", "IGNORE", "MATERIALIZED", "RECURSIVE", "CONSTRAINT", "AGGREGATE"}
)  # fmt: skip

Verb = Literal[
    "create", "drop", "rename", "add_column", "drop_column", "rename_column", "change_column", "add_constraint",
    "drop_constraint", "rename_table", "set_not_null", "drop_not_null", "set_default", "change_type", "insert",
    "update", "delete", "truncate", "other",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str

    @property
    def word(self) -> str:
        """In capitals if it is a bare word, else empty: a quoted name is never a keyword."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        if self.kind != "quoted":
            return self.text
        first = self.text[0]
        return self.text[1:-1].replace(first * 2, first)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a statement does. An ALTER TABLE may do several, all or none of them."""

    verb: Verb
    kind: str = ""
    """What is created, dropped or renamed: `table`, `index`, `trigger`; of a constraint: `foreign key`, `unique`."""
    table: str = ""
    name: str = ""
    to: str = ""
    """The new name, of a rename."""
    words: tuple[str, ...] = ()
    """The rest of the clause, in capitals where it is not a name."""

    def has(self, *phrase: str) -> bool:
        """Whether these words stand in the clause, one after the other."""
        length = len(phrase)
        return any(self.words[at : at + length] == phrase for at in range(len(self.words) - length + 1))


@dataclass(frozen=True, slots=True)
class Statement:
    text: str
    first: str
    actions: tuple[Action, ...]

    @property
    def is_read(self) -> bool:
        return self.first in READS or self.first in CONTROL or not self.first

    @property
    def is_definition(self) -> bool:
        """Whether it changes the schema: MariaDB commits before and after it."""
        return self.first in DEFINITIONS

    @property
    def is_concurrent(self) -> bool:
        """Whether PostgreSQL runs it without holding anybody up, and outside transactions only."""
        return any(action.has("CONCURRENTLY") for action in self.actions)

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_statement(text: str) -> Statement:
    """What the statement does."""
    tokens = [token for token in _tokens(text) if token.text != ";"]
    first = tokens[0].word if tokens else ""
    return Statement(text.strip(), first, tuple(_actions(first, tokens)))


def split_statements(script: str) -> Iterator[str]:
    """The statements of a script; semicolons in quotes and between BEGIN and END of a trigger do not count."""
    begin = at = depth = 0
    for token in _tokens(script, spaces=True):
        end = at + len(token.text)
        if token.word in ("BEGIN", "CASE"):
            depth += 1
        elif token.word == "END":
            depth = max(0, depth - 1)
        elif token.text == ";" and (not depth or _is_control(script[begin:at])):
            if script[begin:at].strip():
                yield script[begin:at].strip()
            begin, depth = end, 0
        at = end
    if script[begin:].strip():
        yield script[begin:].strip()


def _is_control(text: str) -> bool:
    return text.strip().upper() in ("BEGIN", "BEGIN IMMEDIATE")


def _tokens(text: str, *, spaces: bool = False) -> Iterator[Token]:
    for match in TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "tag":
            kind = "string"
        if kind != "space" or spaces:
            yield Token(kind, match[0])


def _actions(first: str, tokens: list[Token]) -> Iterator[Action]:
    words = _words(tokens)
    if first in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
        yield Action(_DATA[first], table=_data_table(tokens), words=words)
    elif first in ("CREATE", "DROP"):
        yield _made_or_dropped(first, tokens)
    elif first == "RENAME":
        yield Action("rename", "table", _name(tokens, 2), to=_name_after(tokens, "TO"), words=words)
    elif first == "ALTER" and len(tokens) > 2 and tokens[1].word == "TABLE":
        yield from _alterations(tokens)
    elif first == "ALTER":
        kind = tokens[1].word.lower() if len(tokens) > 1 else ""
        renames = "RENAME" in words
        yield Action("rename" if renames else "other", kind, name=_name(tokens, 2), words=words)
    else:
        yield Action("other", words=words)


_DATA: Final[dict[str, Verb]] = {
    "INSERT": "insert",
    "UPDATE": "update",
    "DELETE": "delete",
    "TRUNCATE": "truncate",
}


def _data_table(tokens: list[Token]) -> str:
    skipped = {
        "INSERT",
        "UPDATE",
        "DELETE",
        "TRUNCATE",
        "INTO",
        "FROM",
        "TABLE",
        "IGNORE",
        "ONLY",
        "LOW_PRIORITY",
        "OR",
        "REPLACE",
    }
    at = next((at for at, token in enumerate(tokens) if token.word not in skipped), 0)
    return _name(tokens, at)


def _made_or_dropped(first: str, tokens: list[Token]) -> Action:
    verb: Verb = "create" if first == "CREATE" else "drop"
    at = next((at for at, token in enumerate(tokens) if token.word in OBJECTS), None)
    if at is None:
        return Action("other", words=_words(tokens))
    kind = tokens[at].word.lower()
    name, end = _name_from(tokens, at + 1)
    on = next((i for i in range(end, len(tokens)) if tokens[i].word == "ON"), None)
    table = name if kind == "table" else _name(tokens, on + 1) if on is not None else ""
    return Action(verb, kind, table, name, words=_words(tokens))


def _alterations(tokens: list[Token]) -> Iterator[Action]:
    table, begin = _name_from(tokens, 2)
    for clause in _clauses(tokens[begin:]):
        yield _alteration(table, clause)


def _alteration(table: str, clause: list[Token]) -> Action:
    words = _words(clause)
    verb = words[0] if words else ""
    at = 2 if len(words) > 1 and words[1] == "COLUMN" else 1
    if verb == "ADD":
        return _addition(table, clause, words)
    if verb == "DROP":
        return _removal(table, clause, words)
    if verb == "RENAME":
        if at == 2:
            return Action(
                "rename_column", "column", table, _name(clause, 2), _name_after(clause, "TO"), words
            )
        if len(words) < 2:
            return Action("other", "", table, words=words)
        if words[1] in ("INDEX", "KEY", "CONSTRAINT"):
            return Action(
                "rename", words[1].lower(), table, _name(clause, 2), _name_after(clause, "TO"), words
            )
        if words[1] in ("TO", "AS"):
            return Action("rename_table", "table", table, table, _name(clause, 2), words)
        return Action("rename_column", "column", table, _name(clause, 1), _name_after(clause, "TO"), words)
    if verb == "CHANGE":
        name, end = _name_from(clause, at)
        new = _name(clause, end)
        return Action("change_column" if new == name else "rename_column", "column", table, name, new, words)
    if verb == "MODIFY":
        return Action("change_column", "column", table, _name(clause, at), words=words)
    if verb == "ALTER":
        return _altered_column(table, clause, words, at)
    return Action("other", "", table, words=words)


def _addition(table: str, clause: list[Token], words: tuple[str, ...]) -> Action:
    at, name = 1, ""
    if words[1:2] == ("CONSTRAINT",):
        name, at = _name_from(clause, 2)
    kinds = {
        "FOREIGN": "foreign key",
        "UNIQUE": "unique",
        "CHECK": "check",
        "PRIMARY": "primary key",
        "EXCLUDE": "exclude",
    }
    word = words[at] if at < len(words) else ""
    if word in kinds and clause[at].kind == "word":
        if not name and word in ("UNIQUE", "FOREIGN"):
            after = at + 1 + (words[at + 1 : at + 2] in (("INDEX",), ("KEY",)))
            name = "" if _is_sign(clause, after) else _name(clause, after)
        return Action("add_constraint", kinds[word], table, name, words=words)
    if word in ("INDEX", "KEY", "FULLTEXT", "SPATIAL"):
        after = (
            at + 1 + (word in ("FULLTEXT", "SPATIAL") and words[at + 1 : at + 2] in (("INDEX",), ("KEY",)))
        )
        return Action("create", "index", table, _name(clause, after), words=words)
    column = at + 1 if word == "COLUMN" else at
    return Action("add_column", "column", table, _name(clause, column), words=words)


def _removal(table: str, clause: list[Token], words: tuple[str, ...]) -> Action:
    word = words[1] if len(words) > 1 else ""
    if word in ("INDEX", "KEY"):
        return Action("drop", "index", table, _name(clause, 2), words=words)
    if word == "CONSTRAINT" or word == "CHECK":
        return Action("drop_constraint", "constraint", table, _name(clause, 2), words=words)
    if word in ("FOREIGN", "PRIMARY"):
        return Action("drop_constraint", f"{word.lower()} key", table, _name(clause, 3), words=words)
    return Action("drop_column", "column", table, _name(clause, 2 if word == "COLUMN" else 1), words=words)


def _altered_column(table: str, clause: list[Token], words: tuple[str, ...], at: int) -> Action:
    name, end = _name_from(clause, at)
    rest = words[end:]
    verb: Verb = "change_column"
    if rest[:3] == ("SET", "NOT", "NULL"):
        verb = "set_not_null"
    elif rest[:3] == ("DROP", "NOT", "NULL"):
        verb = "drop_not_null"
    elif rest[:2] in (("SET", "DEFAULT"), ("DROP", "DEFAULT")):
        verb = "set_default"
    elif "TYPE" in rest[:3]:
        verb = "change_type"
    return Action(verb, "column", table, name, words=words)


def _clauses(tokens: list[Token]) -> Iterator[list[Token]]:
    """The parts between commas that stand in no parentheses."""
    clause: list[Token] = []
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if token.text == "," and depth == 0:
            yield clause
            clause = []
        else:
            clause.append(token)
    if clause:
        yield clause


def _words(tokens: list[Token]) -> tuple[str, ...]:
    return tuple(token.word or token.name for token in tokens)


def _is_sign(tokens: list[Token], at: int) -> bool:
    return at >= len(tokens) or tokens[at].kind == "sign"


def _name(tokens: list[Token], at: int) -> str:
    return _name_from(tokens, at)[0]


def _name_from(tokens: list[Token], at: int) -> tuple[str, int]:
    """The last part of the (perhaps dotted) name that stands here, after filling words, and where it ends."""
    while at < len(tokens) and tokens[at].word in FILLING:
        at += 1
    if at >= len(tokens):
        return "", at
    name, at = tokens[at].name, at + 1
    while at + 1 < len(tokens) and tokens[at].text == ".":
        name, at = tokens[at + 1].name, at + 2
    return name, at


def _name_after(tokens: list[Token], word: str) -> str:
    at = next((at for at, token in enumerate(tokens) if token.word == word), None)
    return "" if at is None else _name(tokens, at + 1)
