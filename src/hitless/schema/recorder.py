"""Runs the statements of revisions, each exactly once, however often the phase is run.

Guarantees:

1. Before a definition that the database commits by itself (every one on MariaDB; those outside a transaction on
   PostgreSQL) the ledger says that it begins, afterwards that it is done. Everything else is written in the same
   transaction as the statement's effect.
2. On the next run a statement that is done is passed over. One that was begun is looked for in the schema; where
   the schema cannot tell and repeating would not be harmless, the run stops and says what to look at.
3. Within one transaction the waits for tables together stay below the lock timeout: what the first statement
   has locked does not wait longer because the second one waits too.

Statements are told apart by revision, text and count, so that a script may ask the schema first and run other
statements the second time. A revision that failed may be corrected: what was done and has not changed is not repeated.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, delete, event, insert, select, update
from sqlalchemy.exc import DBAPIError

from hitless.schema.database import Database
from hitless.schema.errors import SchemaError
from hitless.schema.lease import Lease
from hitless.schema.ledger import METADATA, STATEMENT, Ledger
from hitless.schema.observe import has_happened, is_repeatable
from hitless.schema.statement import Statement, read_statement

KEY: Final = "hitless.recorder"
OWN: Final = ("alembic_version", *METADATA.tables)
LEAST_S: Final = 0.001


class Recorder:
    """Stands between the revisions and the database while `recording`."""

    def __init__(self, database: Database, lease: Lease, *, lock_timeout_s: float) -> None:
        self._database: Final = database
        self._dialect: Final = database.dialect
        self._lease: Final = lease
        self._lock_timeout_s: Final = lock_timeout_s
        self._revision = ""
        self._seen: Counter[str] = Counter()
        self._position = 0
        self._locked_since: float | None = None
        self._is_ours = False
        self.passed_over = 0
        """Statements that had been done by an earlier run."""

    def begin(self, revision: str) -> None:
        """The statements that follow belong to this revision."""
        self._revision = revision
        self._seen = Counter()
        self._position = 0
        self._locked_since = None

    @contextmanager
    def recording(self, connection: Connection) -> Iterator[None]:
        engine = self._database.engine
        events = ("do_execute", "do_execute_no_params", "do_executemany")
        listeners = [(name, _listener(name)) for name in events]
        for name, listener in listeners:
            event.listen(engine, name, listener)
        connection.info[KEY] = self
        try:
            yield
        finally:
            connection.info.pop(KEY, None)
            for name, listener in listeners:
                event.remove(engine, name, listener)

    def run(self, connection: Connection, text: str, execute: Any) -> bool:
        """Run the statement unless it is none of ours (False) or has been done before (True)."""
        if self._is_ours or any(own in text for own in OWN):
            return False
        statement = read_statement(text)
        if statement.is_read or not self._revision:
            return False
        self._lease.check()
        self._is_ours = True  # what happens below executes statements too
        try:
            self._run(connection, statement, execute)
        finally:
            self._is_ours = False
        return True

    def _run(self, connection: Connection, statement: Statement, execute: Any) -> None:
        key = {"revision": self._revision, "hash": statement.hash, "nth": self._seen[statement.hash]}
        self._seen[statement.hash] += 1
        self._position += 1
        state = self._state(connection, key)
        if state == "done" or (state == "begun" and self._resolved(connection, statement, key)):
            self.passed_over += 1
            return
        commits = self._commits_by_itself(connection, statement)
        self._bound_wait(connection, statement, commits=commits)
        if not commits:
            execute()
            self._write(connection, key, statement, "done", is_new=state is None)
            return
        self._write(connection, key, statement, "begun", is_new=state is None)
        self._commit(connection)
        try:
            execute()
        except BaseException as error:
            if not statement.is_concurrent:  # which leaves an invalid index behind; the next run looks for it
                self._forget(connection, key, error)
            raise
        self._write(connection, key, statement, "done", is_new=False)
        self._commit(connection)

    def _resolved(self, connection: Connection, statement: Statement, key: dict[str, Any]) -> bool:
        """Whether a statement that an earlier run did not see the end of has taken effect."""
        happened = has_happened(connection, self._dialect, statement)
        if happened is None and not is_repeatable(statement):
            raise SchemaError(
                "unknown_state",
                f"revision {self._revision} was interrupted in statement {self._position}, and the schema does not tell whether"
                " that took effect; look yourself, then run: hitless db resolve"
                f" {self._revision} {self._position} --done (or --undone)",
                statement.text,
            )
        if happened:
            self._write(connection, key, statement, "done", is_new=False)
            self._commit(connection)
        elif statement.is_concurrent:
            self._drop_leftovers(connection, statement)
        return bool(happened)

    def _drop_leftovers(self, connection: Connection, statement: Statement) -> None:
        """An index that was being built concurrently stays behind, invalid, under its name."""
        for action in statement.actions:
            if action.verb == "create" and action.name in self._dialect.invalid_indexes(connection):
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {self._dialect.quote(action.name)}")

    def _commits_by_itself(self, connection: Connection, statement: Statement) -> bool:
        if not self._dialect.is_transactional:
            return statement.is_definition
        driver: Any = connection.connection.driver_connection
        return self._dialect.name == "postgresql" and bool(driver.autocommit)

    def _bound_wait(self, connection: Connection, statement: Statement, *, commits: bool) -> None:
        if self._dialect.name != "postgresql":
            return
        if commits:
            # Building concurrently waits for transactions, and holds nobody up while it does.
            wait_s = 0 if statement.is_concurrent else self._lock_timeout_s
            connection.exec_driver_sql(f"SET lock_timeout = {round(wait_s * 1000)}")
            return
        if self._locked_since is None:
            self._locked_since = time.monotonic()
        left_s = max(LEAST_S, self._lock_timeout_s - (time.monotonic() - self._locked_since))
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, round(left_s * 1000))}")

    def _state(self, connection: Connection, key: dict[str, Any]) -> str | None:
        state: str | None = connection.execute(select(STATEMENT.c.state).where(_is(key))).scalar()
        return state

    def _write(
        self, connection: Connection, key: dict[str, Any], statement: Statement, state: str, *, is_new: bool
    ) -> None:
        if is_new:
            at = Ledger(connection, self._dialect).now()
            row = {"position": self._position, "state": state, "text": statement.text, "at": at}
            connection.execute(insert(STATEMENT).values(**key, **row))
        else:
            connection.execute(update(STATEMENT).where(_is(key)).values(state=state))

    def _forget(self, connection: Connection, key: dict[str, Any], error: BaseException) -> None:
        """The server said no: nothing happened. Where the connection broke, the row stays: nobody knows."""
        codes = getattr(error, "args", ()) or (None,)
        if isinstance(codes[0], int) and codes[0] in (2006, 2013, 2055, 0):
            return
        if not isinstance(error, Exception):
            return
        try:
            self._commit(connection)
            connection.execute(delete(STATEMENT).where(_is(key)))
            self._commit(connection)
        except DBAPIError:
            return

    def _commit(self, connection: Connection) -> None:
        """Of the driver's transaction only: alembic's own notion of one goes on."""
        driver: Any = connection.connection.driver_connection
        driver.commit()


def _is(key: dict[str, Any]) -> Any:
    return (
        (STATEMENT.c.revision == key["revision"])
        & (STATEMENT.c.hash == key["hash"])
        & (STATEMENT.c.nth == key["nth"])
    )


def _listener(name: str) -> Any:
    """For SQLAlchemy's events that stand for an execution; True says that it has been taken care of."""

    def without_parameters(cursor: Any, statement: str, context: Any) -> bool | None:
        return _pass_on(context, statement, lambda: cursor.execute(statement))

    def with_parameters(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        run = cursor.executemany if name == "do_executemany" else cursor.execute
        return _pass_on(context, statement, lambda: run(statement, parameters))

    return without_parameters if name == "do_execute_no_params" else with_parameters


def _pass_on(context: Any, text: str, execute: Any) -> bool | None:
    connection = context.root_connection
    recorder = connection.info.get(KEY)
    return True if recorder is not None and recorder.run(connection, text, execute) else None
