"""What can go wrong between a program and its runtime."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitless.change import Outcome


class LiveError(Exception):
    """The family of this package."""


class DeclarationError(LiveError):
    """The declared resources do not fit together. Its text has one line per problem, with file and line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: Final = tuple(problems)
        super().__init__("\n".join(self.problems))


class NotRunning(LiveError):
    """The runtime has not been started, or is stopped."""


class StartFailed(LiveError):
    """The first generation could not be made; `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome: Final = outcome


class HostDecides(LiveError):
    """The runtime runs in one of several processes, whose host changes them together."""


class UnknownResource(LiveError):
    """There is no such resource in this generation."""


class Replaced(LiveError):
    """The resource was stopped for its successor while an action that had not named it went on."""


class QueueFull(LiveError):
    """Too many users wait already for a resource that is being replaced."""


class WouldBlock(LiveError):
    """A lease without async would have to wait in a thread that runs an event loop."""
