"""What would block or break the release that runs, found in the SQL of revisions before it runs.

Each finding says why it is unsafe and what to write instead. A revision takes a rule on itself by naming it:
`allow = {"create_index": "the table has ten rows"}`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hitless.change import JSON
from hitless.schema.database import Database
from hitless.schema.errors import SchemaError
from hitless.schema.project import Branch, Project, Release
from hitless.schema.rules import RULES, Context
from hitless.schema.script import statements_of
from hitless.schema.statement import CONTROL, Statement, read_statement

SQUAWK_S: Final = 60
WORST: Final = "ban-drop-database"
SQUAWK_EXCLUDED: Final = (
    # Ours say the same with the phase in mind, or hitless sees to it while it runs.
    "require-timeout-settings", "require-lock-timeout", "require-statement-timeout",
    "require-concurrent-index-creation", "require-concurrent-index-deletion",
    "ban-drop-column", "ban-drop-table", "ban-drop-not-null", "adding-required-field", "adding-not-nullable-field",
    "changing-column-type", "renaming-column", "renaming-table", "prefer-robust-stmts", "ban-create-domain-with-constraint",
    # Taste, which says nothing about a running release.
    "prefer-bigint-over-int", "prefer-bigint-over-smallint", "prefer-identity", "prefer-text-field",
    "prefer-timestamp-tz", "ban-char-field", "identifier-too-long", "require-table-schema", "prefer-repack",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    revision: str
    rule: str
    what: str
    why: str
    instead: str

    def __str__(self) -> str:
        return f"{self.revision}: {self.what}: {self.why}; instead: {self.instead} ({self.rule})"

    def to_json(self) -> dict[str, JSON]:
        return {
            "revision": self.revision,
            "rule": self.rule,
            "what": self.what,
            "why": self.why,
            "instead": self.instead,
        }


def lint(project: Project, database: Database, release: Release) -> tuple[Finding, ...]:
    """All findings in a release's revisions, as this database would run them."""
    found: list[Finding] = []
    for revision in (*release.expand, *release.contract):
        script = project.script.get_revision(revision.id)
        assert script is not None
        allowed: Any = getattr(script.module, "allow", {})
        try:
            statements = statements_of(project, database, revision.id)
        except SchemaError as error:
            found.append(
                Finding(
                    revision.id,
                    "not_offline",
                    "cannot be read",
                    error.message,
                    "op.add_column, op.execute and the like",
                )
            )
            continue
        mine = [*_by_rules(revision.id, revision.branch, database.dialect.name, statements)]
        if database.dialect.name == "postgresql":
            mine += _by_squawk(revision.id, revision.branch, statements)
        found += [finding for finding in mine if finding.rule not in allowed]
    return tuple(found)


def _by_rules(revision: str, branch: Branch, database: str, statements: tuple[str, ...]) -> Iterator[Finding]:
    read = [read_statement(text) for text in statements]
    context = Context(branch, database, frozenset(_made_here(read)))
    for statement in read:
        for action in statement.actions:
            for rule in RULES:
                if (advice := rule.look(context, statement, action)) is not None:
                    yield Finding(revision, rule.name, _shown(statement), advice.why, advice.instead)


def _made_here(statements: list[Statement]) -> Iterator[str]:
    """Tables that the revision makes itself: nobody uses them yet."""
    for statement in statements:
        for action in statement.actions:
            if action.verb == "create" and action.kind == "table":
                yield action.name


def _by_squawk(revision: str, branch: Branch, statements: tuple[str, ...]) -> Iterator[Finding]:
    """What squawk says about PostgreSQL, if it is installed."""
    squawk = shutil.which("squawk") or shutil.which("squawk", path=sysconfig.get_path("scripts"))
    # Not the COMMIT and BEGIN around an autocommit block: the transactions are hitless's.
    statements = tuple(text for text in statements if read_statement(text).first not in CONTROL)
    if squawk is None or not statements:
        return
    script = ";\n".join(statements) + ";\n"
    command = [squawk, "--reporter=json"]  # --exclude fails for names that another version has
    try:
        done = subprocess.run(
            [*command, "--stdin-filepath", f"{Path(revision).name}.sql"],
            input=script, capture_output=True, text=True, timeout=SQUAWK_S, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise SchemaError("squawk_failed", f"squawk failed: {' '.join(done.stderr.split())}")
        reported = json.loads(done.stdout or "[]")
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise SchemaError("squawk_failed", f"squawk could not be run: {error}") from error
    lines = script.splitlines()
    for each in reported:
        rule = str(each.get("rule_name", "squawk"))
        if rule in SQUAWK_EXCLUDED or (
            branch == "contract" and rule.startswith("ban-drop-") and rule != WORST
        ):
            continue
        line = int(each.get("line", 0))
        what = lines[line] if line < len(lines) else revision
        instead = str(each.get("help") or "see the rule's page at squawkhq.com")
        yield Finding(revision, rule, _cut(what), str(each.get("message", "")), instead)


def _shown(statement: Statement) -> str:
    return _cut(" ".join(statement.text.split()))


def _cut(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
