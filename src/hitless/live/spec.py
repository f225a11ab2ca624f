"""A declaration whose parameters have been understood: which settings it reads, which resources it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from hitless.live.declaration import Declaration
from hitless.live.paths import Read


class Which(Enum):
    """Which instances of the other resource are meant."""

    ONE = auto()
    """The only one."""
    SAME = auto()
    """The one of the same key: both have the same `per`."""
    ALL = auto()
    """All, by key."""
    KEY = auto()
    """The one of a fixed key."""
    CHOSEN = auto()
    """The one whose key is in the settings."""


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter that is read from the settings."""

    parameter: str
    path: str
    """For people; begins with `each` for one that is read from the instance's own part."""
    read: Read
    of_each: bool = False
    """Whether it is read from the value of the instance's key, not from the whole."""


@dataclass(frozen=True, slots=True)
class Link:
    """A parameter that is another resource."""

    parameter: str
    to: str
    which: Which = Which.ONE
    key: str | None = None
    chosen: Value | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    declaration: Declaration
    values: tuple[Value, ...] = ()
    key_parameters: tuple[str, ...] = ()
    """Parameters that are the instance's key."""
    links: tuple[Link, ...] = ()
    table: Read | None = None
    """Reads the mapping of `per`."""

    @property
    def name(self) -> str:
        return self.declaration.name

    def fixed(self) -> Iterator[Link]:
        """The links that are the same whatever the settings are."""
        return (link for link in self.links if link.which is not Which.CHOSEN)
