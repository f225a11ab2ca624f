"""What a group needs of the place where its members meet. One small protocol, and what each kind of place has to keep of it.

1. A member's register is gone once its lease has run out, and never comes back: who lost it joins as somebody else.
2. The record is changed by compare-and-set: of two writes that are based on the same version, one fails.
3. `renew` that has returned was seen by everybody who looks after it began, until `lease_s` after it began.
4. A configuration is there, whole and safe, when `put` has returned; it never changes.

All calls block, and each of them ends within `timeout_s`: they are made in threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hitless.agent.group.member import Register
from hitless.agent.group.record import Record


class GroupError(Exception):
    """Something about a group did not work; the message says what to do."""


class NoPlace(GroupError):
    """The group's URL stands for no place where a group can meet."""


class Unreachable(GroupError):
    """The place where the group meets did not answer, or not as it should."""


class LeaseLost(GroupError):
    """The others count this member as gone."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is there."""

    record: Record
    version: int
    """Of the record; 0: there is none yet."""
    registers: Mapping[str, Register] = field(default_factory=dict)
    """Of the members with a lease, by member id."""


class Coordinator(Protocol):
    """Used by one thread at a time. Calls raise Unreachable."""

    @property
    def lease_s(self) -> float:
        """How long a register is kept after its last renewal began."""

    def join(self, register: Register) -> None:
        """Begin a lease."""

    def renew(self, register: Register) -> None:
        """Extend the lease and say what is new. Raises LeaseLost."""

    def leave(self) -> None:
        """End the lease, if there is one."""

    def look(self) -> Sight:
        """The registers are never older than what the caller has renewed before."""

    def write(self, record: Record, version: int) -> bool:
        """Put `record` in the place of `version`; whether it was done. What failed may yet be done if it raised Unreachable."""

    def put(self, config: str, text: str) -> None:
        """Keep a configuration by its hash."""

    def get(self, config: str) -> str | None:
        """A configuration; None if there is none by this hash."""

    def close(self) -> None:
        """Let go of connections; a lease is left to run out."""
