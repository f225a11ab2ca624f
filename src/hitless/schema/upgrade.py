"""Alembic's part: which revisions run, in which order, each in a transaction where the database has such."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from sqlalchemy import Connection

from hitless.schema.database import Database
from hitless.schema.errors import Rejected, SchemaError
from hitless.schema.project import Branch, Project
from hitless.schema.recorder import Recorder

Before = Callable[[Connection, str], None]
"""Called before each revision, in its transaction, with its id."""


class Upgrade:
    """Brings the database to revisions of one branch."""

    def __init__(self, database: Database, project: Project, branch: Branch) -> None:
        self._database: Final = database
        self._project: Final = project
        self._branch: Final = branch

    def steps(self, heads: Sequence[str], targets: Sequence[str]) -> tuple[str, ...]:
        """The revisions that would run, in order.

        Raises:
            Rejected: one of them is of the other branch: then releases cannot be taken together.
        """
        applied = set(self._project.ancestors(heads))
        steps: list[str] = []
        for target in targets:
            found = self._project.script._upgrade_revs(target, tuple(heads))  # type: ignore[arg-type]
            steps += [
                step.revision.revision for step in found if step.revision.revision not in {*applied, *steps}
            ]
        for step in steps:
            revision = self._project.revisions[step]
            if revision.branch != self._branch:
                raise Rejected(
                    "needs_other_branch",
                    f"{targets[-1]} needs {step} of the {revision.branch} branch before it; go to release"
                    f" {revision.release} first, with all of its phases: hitless db plan --release {revision.release}",
                )
        return tuple(steps)

    def run(self, connection: Connection, recorder: Recorder, steps: Sequence[str], before: Before) -> None:
        """Run the steps. What was done before an error stays done, and is not repeated the next time.

        Raises:
            SchemaError: alembic says that all ran, and the version table says otherwise.
        """
        context = MigrationContext.configure(
            connection,
            opts={
                "fn": self._migrations(steps, connection, recorder, before),
                "transaction_per_migration": True,
                "transactional_ddl": self._database.dialect.is_transactional,
                "script": self._project.script,
            },
        )
        with self._database.explained(), recorder.recording(connection), Operations.context(context):
            context.run_migrations()
        missing = set(steps) - self._project.ancestors(heads(connection))
        if missing:
            raise SchemaError(
                "not_applied", f"{sorted(missing)[0]} ran, but the version table does not have it"
            )

    def _migrations(
        self, steps: Sequence[str], connection: Connection, recorder: Recorder, before: Before
    ) -> Any:
        def run(applied: Any, context: MigrationContext) -> Iterator[Any]:  # noqa: ARG001
            for step in steps:
                revision = self._project.script.get_revision(step)
                recorder.begin(step)
                before(connection, step)
                yield MigrationStep.upgrade_from_script(self._project.script.revision_map, revision)

        return run


def heads(connection: Connection) -> tuple[str, ...]:
    """The revisions that the database says it is at; none if alembic never ran here."""
    return tuple(sorted(MigrationContext.configure(connection).get_current_heads()))
