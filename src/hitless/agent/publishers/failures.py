"""How a publisher says why it did not take a batch, where the outlet can do better than to try again."""

from __future__ import annotations


class Unreachable(ConnectionError):
    """Nobody took it now; somebody may later. As every OSError: with a buffer on disk it is tried for as long as it takes."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        """What the other side has asked for."""
        super().__init__(message)


class Rejected(Exception):
    """It never will be taken: it is counted as failed, and not given again."""


class PartlyTaken(Exception):
    """It is settled: all but `rejected` were taken, and those never will be."""

    def __init__(self, rejected: int, why: str) -> None:
        self.rejected = rejected
        super().__init__(f"{rejected} were refused: {why or 'no reason was given'}")
