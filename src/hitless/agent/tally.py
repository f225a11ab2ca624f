"""How many samples and polls went which way. Counts outlive the generations that they come from."""

from __future__ import annotations

from collections import Counter
from typing import Final

from hitless.change import JSON

SAMPLES: Final = ("offered", "restored", "published", "dropped", "failed")
POLLS: Final = ("polls", "samples", "errors", "timeouts", "skipped", "missed", "set_aside")


class Tally:
    """Owned by the agent's event loop."""

    def __init__(self) -> None:
        self.polls: Final[Counter[str]] = Counter()
        """`POLLS`: calls of pollsters; samples they gave; calls that raised; that took too long; that were left out because
        the one before still ran; due times that passed unseen; resources that are polled no more."""
        self.sinks: Final[dict[str, Counter[str]]] = {}
        """`SAMPLES` by outlet: offered + restored (found on disk) = published + dropped (the buffer was full) + failed (after all
        retries, or refused) + those that still wait."""

    def outlet(self, name: str) -> Counter[str]:
        return self.sinks.setdefault(name, Counter())

    def to_json(self) -> dict[str, JSON]:
        return {
            "polls": {each: self.polls[each] for each in POLLS},
            "sinks": {
                name: {each: counts[each] for each in SAMPLES} for name, counts in sorted(self.sinks.items())
            },
        }
