"""What the catalogue asks of its database, and the database at a URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from volumes.driver import VolumeError


class CatalogError(VolumeError):
    """The database failed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a transaction."""

    statement: str
    values: tuple[object, ...]
    needed: bool = True
    """Whether it must concern a row."""


class Database(Protocol):
    """What the two have in common."""

    @property
    def Error(self) -> type[Exception]:
        """What it fails with."""

    def run(self, steps: Sequence[Step]) -> bool:
        """Do all in one transaction; False, and nothing is done, if a step that must concern a row does not."""

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]: ...

    def close(self) -> None: ...


def opened(url: str) -> Database:
    """The database at `sqlite:PATH` or `postgresql://…`.

    Raises:
        CatalogError: it cannot be reached, or is neither.
    """
    kind, _, rest = url.partition(":")
    if kind == "sqlite":
        from volumes.sqlite import Sqlite

        return Sqlite(Path(rest))
    if kind == "postgresql":
        try:
            from volumes.postgresql import Postgresql
        except ModuleNotFoundError as error:
            raise CatalogError(
                f"{kind} needs {error.name}; install it: pip install 'psycopg[binary]'"
            ) from error
        return Postgresql(url)
    raise CatalogError(f"no database is a {kind}; give sqlite:PATH or postgresql://…")
