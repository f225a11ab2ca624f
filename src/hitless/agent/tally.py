"""How many samples and polls went which way. Counts outlive the generations that they come from."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Final

from hitless.change import JSON

SAMPLES: Final = ("offered", "restored", "published", "dropped", "failed")
POLLS: Final = ("polls", "samples", "errors", "timeouts", "skipped", "missed", "set_aside")


BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Seconds; what is later is in the last one, without an end."""


class Lateness:
    """How long after their due times ticks began."""

    def __init__(self) -> None:
        self.counts: Final = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += max(0.0, seconds)

    def cumulative(self) -> list[tuple[str, float]]:
        """Upper bounds with how many were not later, as Prometheus has them."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        return [(bound, float(count)) for bound, count in zip(bounds, accumulate(self.counts), strict=True)]


class Tally:
    """Owned by the agent's event loop."""

    def __init__(self) -> None:
        self.polls: Final[Counter[str]] = Counter()
        """`POLLS`: calls of pollsters; samples they gave; calls that raised; that took too long; that were left out because
        the one before still ran; due times that passed unseen; resources that are polled no more."""
        self.sinks: Final[dict[str, Counter[str]]] = {}
        """`SAMPLES` by outlet: offered + restored (found on disk) = published + dropped (the buffer was full) + failed (after all
        retries, or refused) + those that still wait."""

        self.lateness: Final = Lateness()

    def waiting(self, name: str) -> int:
        """How many are neither published nor lost."""
        counts = dict(self.sinks.get(name, ()))
        taken = counts.get("offered", 0) + counts.get("restored", 0)
        return taken - sum(counts.get(each, 0) for each in ("published", "dropped", "failed"))

    def outlet(self, name: str) -> Counter[str]:
        return self.sinks.setdefault(name, Counter())

    def to_json(self) -> dict[str, JSON]:
        return {
            "polls": {each: self.polls[each] for each in POLLS},
            "sinks": {
                name: {each: counts[each] for each in SAMPLES} for name, counts in sorted(self.sinks.items())
            },
        }
