"""What a rollout asks of whatever runs a service's processes on a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hitless.change import Deadline
from hitless.rollout.hand import Hand


@dataclass(frozen=True, slots=True)
class Gone:
    """Whether no process of the service is left on a node."""

    is_gone: bool
    why: str
    """What was found."""
    was_forced: bool = False
    """Whether its end is known to have cut work."""


class Process(Protocol):
    """Every method may be repeated, and raises RolloutError or one of its kinds."""

    async def stop(self, hand: Hand, deadline: Deadline) -> None:
        """Ask the processes to end. They may still be there when it returns."""

    async def gone(self, hand: Hand, deadline: Deadline) -> Gone:
        """Look whether they are gone."""

    async def kill(self, hand: Hand, deadline: Deadline) -> bool:
        """End by force what did not end in time; False where that was not allowed, and nothing was done."""

    async def upgrade(self, hand: Hand, deadline: Deadline) -> None:
        """Install the hand's release; nothing of the service runs while that is done."""

    async def installed(self, hand: Hand, deadline: Deadline) -> str | None:
        """What is installed, in the node's words; None where nobody can tell."""

    async def start(self, hand: Hand, deadline: Deadline) -> None:
        """Start what is installed. Whether it is healthy is asked by probes."""

    def said(self, hand: Hand) -> dict[str, str]:
        """What stop, upgrade and start would do, for the plan."""
