"""What a node writes so that contract knows which releases still run."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Final

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from hitless.schema.database import Database
from hitless.schema.errors import SchemaError
from hitless.schema.ledger import NODE, Ledger

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0


class Heartbeat:
    """Writes every few seconds that this node runs this release; takes the row away when it is stopped properly.

    A database that does not answer for a while is not this node's end: it is logged, and tried again.
    """

    def __init__(self, url: str, *, service: str, node: str, release: str, every_s: float = EVERY_S) -> None:
        self._database: Final = Database(url, program=f"{service}/{release}")
        self._service: Final = service
        self._node: Final = node
        self._release: Final = release
        self._every_s: Final = every_s
        self._stop: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="hitless-heartbeat", daemon=True)

    def start(self) -> None:
        """Write the first one, then go on in a thread.

        Raises:
            SchemaError: the database does not answer.
        """
        self._make_table()
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._database.connect() as connection, connection.begin():
            Ledger(connection, self._database.dialect).forget(self._service, self._node)

    def _make_table(self) -> None:
        """Usually `hitless db expand` has; an account that may not create tables needs it to."""
        with self._database.connect() as connection:
            if self._has_table(connection):
                return
            try:
                NODE.create(connection)
                connection.commit()
            except DBAPIError:
                connection.rollback()
                if not self._has_table(connection):  # else another node was faster
                    raise

    def _has_table(self, connection: Connection) -> bool:
        with connection.begin():
            return inspect(connection).has_table(NODE.name)

    def _beat(self) -> None:
        with self._database.connect() as connection, connection.begin():
            Ledger(connection, self._database.dialect).beat(self._service, self._node, self._release)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._beat()
            except (SchemaError, DBAPIError) as error:
                log.warning("the heartbeat of %s could not be written: %s", self._node, error)

    def __enter__(self) -> Heartbeat:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
