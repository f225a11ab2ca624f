"""Who is in a group, and what each of them has to say: one register per member, written by nobody else, gone with its lease."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hitless.agent.definition import Value


class Member(Value):
    """One process in a group, from its joining to its end."""

    name: str
    """Where its share of the resources is on the ring: the same after a restart."""
    incarnation: str
    """Its own in each life, and later ones sort after earlier ones: who has lost its lease comes back as somebody else."""
    host: str = ""
    """Only members on a host poll what belongs to that host."""
    weight: int = Field(1, ge=1, le=100)

    @property
    def id(self) -> str:
        return f"{self.name}@{self.incarnation}"


class Verdict(Value):
    """What a member says to an epoch."""

    epoch: int
    answer: Literal["prepared", "refused"]
    why: str = ""


class Armed(Value):
    """The member's promise: it begins no tick at or after `at` before it has read what became of this change."""

    change: int
    attempt: int
    at: int
    """Unix time in milliseconds."""


class Register(Value):
    """All that a member tells the others. Everything in it is about itself."""

    member: Member
    is_leaving: bool = False
    applied: str = ""
    """Hash of the configuration that it polls by; empty before it has one."""
    epoch: int = 0
    """Its epoch."""
    attempted: str = ""
    """Hash of the configuration that it has tried last."""
    verdict: Verdict | None = None
    armed: Armed | None = None
    trouble: str = ""
    """Why it does not take part, if it does not."""
    pid: int = 0
    since: float = 0.0
    """Unix time of its joining."""
