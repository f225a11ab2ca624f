"""What differs between the databases, in one place per database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

PROGRAM: Final = "hitless db"
"""How our own sessions are named."""


@dataclass(frozen=True, slots=True)
class Session:
    """One session of the database besides our own."""

    id: str
    name: str
    """What the program calls itself; empty if it does not."""
    user: str
    address: str

    def __str__(self) -> str:
        where = f" from {self.address}" if self.address else ""
        return f"{self.name or 'a session without a name'} (user {self.user}, id {self.id}{where})"


class Dialect(ABC):
    """One kind of database."""

    name: ClassVar[str]
    title: ClassVar[str]
    is_transactional: ClassVar[bool]
    """Whether a change of the schema can be rolled back."""
    has_sessions: ClassVar[bool]
    """Whether the server can tell who is connected."""

    def connect_args(self, connect_timeout_s: float, program: str) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def engine_options(self) -> Mapping[str, Any]:
        return {}

    def prepare(self, engine: Engine) -> None:  # noqa: B027
        """Whatever the engine needs before it is used."""

    @abstractmethod
    def set_timeouts(self, connection: Connection, *, lock_s: float, statement_s: float) -> None:
        """For the rest of the session."""

    @abstractmethod
    def try_lock(self, connection: Connection, name: str, wait_s: float) -> bool:
        """Whether this session has the advisory lock now, after waiting for it. The server gives it up with the session
        that has it, and not before a statement that the session's dead client left behind has ended."""

    @abstractmethod
    def unlock(self, connection: Connection, name: str) -> None: ...

    @abstractmethod
    def now(self) -> str:
        """SQL of the database's clock, in seconds since 1970: the only clock that all runners share."""

    @abstractmethod
    def triggers(self, connection: Connection) -> Iterable[str]:
        """Names of the triggers that there are."""

    @abstractmethod
    def is_lock_timeout(self, error: DBAPIError) -> bool:
        """Whether something else held what the statement needed; a deadlock is such a case."""

    def is_unreachable(self, error: DBAPIError) -> bool:
        return bool(error.connection_invalidated)

    def sessions(self, connection: Connection) -> tuple[Session, ...]:  # noqa: ARG002
        """Everybody else who is connected to this database."""
        return ()

    def running(self, connection: Connection) -> int:  # noqa: ARG002
        """How many sessions run a statement now."""
        return 0

    def lag(self, connection: Connection) -> float | None:  # noqa: ARG002
        """Seconds that the replicas known to this server are behind; None if it knows of none."""
        return None

    def invalid_indexes(self, connection: Connection) -> tuple[str, ...]:  # noqa: ARG002
        """Indexes that a failed attempt left behind and that are not used."""
        return ()

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def differs(self, left: str, right: str) -> str:
        """SQL of "these are not the same", nulls being the same."""
        return f"{left} IS DISTINCT FROM {right}"


def error_codes(error: DBAPIError) -> tuple[object, ...]:
    """What the driver says it was: SQLSTATE, or the server's number."""
    original = error.orig
    state = getattr(original, "sqlstate", None)
    name = getattr(original, "sqlite_errorname", None)
    arguments = getattr(original, "args", ())
    return (state, name, arguments[0] if arguments else None)
