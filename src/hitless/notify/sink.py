"""Where notices go. A sink sends one at a time, in a thread that is its own."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from hitless.notify.notice import Notice


class SinkFailed(Exception):
    """The notice was not taken; the message says by whom and why, without secrets. Final: it never would be."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final: Final = is_final


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often one notice is tried, and the pauses between: each twice as long as the one before, half of it by chance."""

    attempts: int = 5
    first_s: float = 0.5
    longest_s: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_s < 0 or self.longest_s < 0:
            raise ValueError("expected at least one attempt, and pauses of 0 s or more")

    def pause_s(self, failures: int) -> float:
        """Seconds to wait after so many failures."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 32)) * random.uniform(0.5, 1.0)


ONCE: Final = Retries(attempts=1)
SEVERAL: Final = Retries()


class Sink(Protocol):
    @property
    def name(self) -> str:
        """For logs and `hitless status`; shows no secret."""

    @property
    def retries(self) -> Retries: ...

    def send(self, notice: Notice) -> None:
        """Deliver it. May block, within a deadline of its own.

        Raises:
            SinkFailed: it was not delivered.
        """


@runtime_checkable
class Interruptible(Protocol):
    """A sink whose `send` can be broken off."""

    def interrupt(self) -> None:
        """End what `send` is at, from another thread; it raises SinkFailed then. Does nothing if it is at nothing."""
