"""A point in time by which something must have happened, handed down through everything that waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

T = TypeVar("T")
Clock = Callable[[], float]


class DeadlinePassed(Exception):
    """Something did not happen in time; `what` is the sentence that says so ("worker 3 did not become ready")."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} within {seconds:g} s")
        self.what: Final = what
        self.seconds: Final = seconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """Nothing waits without one. `seconds` is how long it allowed in total, for the message when it has passed."""

    at: float
    seconds: float
    clock: Clock = field(default=time.monotonic, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> Deadline:
        return cls(clock() + seconds, seconds, clock)

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - self.clock())

    @property
    def expired(self) -> bool:
        return self.remaining() <= 0

    def sooner(self, seconds: float) -> Deadline:
        """This deadline, or `seconds` from now if that is earlier."""
        nearer = Deadline.after(seconds, self.clock)
        return nearer if nearer.at < self.at else self

    async def wait(self, awaitable: Awaitable[T], what: str) -> T:
        """The result of `awaitable`, which is cancelled when the deadline passes.

        What is there already is taken, even at the last moment. `what` says what did not happen: "the
        template did not answer".

        Raises:
            DeadlinePassed: it did not come in time. A TimeoutError of the awaitable itself is passed on as
            it is.
        """
        try:
            async with asyncio.timeout(self.remaining()) as scope:
                return await awaitable
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlinePassed(what, self.seconds) from None
