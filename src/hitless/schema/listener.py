"""Whoever wants to know how a phase goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a data migration is."""

    name: str
    done: int
    """Rows moved since this run began."""
    total: int | None
    """Rows that waited when it began; None if it did not say."""
    rate: float
    """Rows per second."""
    held_by: str = ""
    """What the throttle waits for, if it does."""

    @property
    def eta_s(self) -> float | None:
        """Seconds until the rows that waited at first are moved."""
        if self.total is None or self.rate <= 0:
            return None
        return max(0.0, (self.total - self.done) / self.rate)


class Listener:
    """Told by the phases; does nothing. Commands show it."""

    def note(self, message: str) -> None:
        """One sentence about what happens now."""

    def progress(self, progress: Progress) -> None:
        """After each batch."""
