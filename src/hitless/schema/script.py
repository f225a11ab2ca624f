"""The SQL of revisions, as alembic would print it offline: for plans and for lint."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import SQLAlchemyError

from hitless.schema.database import Database
from hitless.schema.errors import SchemaError
from hitless.schema.project import Project
from hitless.schema.statement import split_statements


def statements_of(project: Project, database: Database, revision: str) -> tuple[str, ...]:
    """The statements of one revision.

    Raises:
        SchemaError: it cannot be told without the database: it asks the schema, or executes on its own.
    """
    script = project.script.get_revision(revision)
    assert script is not None
    buffer = StringIO()
    context = MigrationContext.configure(
        dialect=database.engine.dialect, opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True}
    )
    try:
        with Operations.context(context):
            script.module.upgrade()
    except (AttributeError, TypeError, NotImplementedError, SQLAlchemyError) as error:
        raise SchemaError(
            "not_offline",
            f"the SQL of {revision} cannot be told without running it ({error}); use op.execute and the other op functions",
        ) from error
    return tuple(_without_noise(buffer.getvalue()))


def _without_noise(script: str) -> Iterator[str]:
    for statement in split_statements(script):
        kept = "\n".join(line for line in statement.splitlines() if not line.startswith("-- "))
        if kept.strip():
            yield kept.strip()
