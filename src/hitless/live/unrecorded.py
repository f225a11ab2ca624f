"""The journal of a runtime whose changes somebody else records: the supervisor that makes them."""

from __future__ import annotations

from collections.abc import Mapping

from hitless.change import Entry, Journal, Outcome, Plan


class Unrecorded(Journal):
    """Takes everything and keeps nothing; no file, so that a process that is killed leaves none behind."""

    def __init__(self) -> None:
        """Without that of a journal, which opens its file."""

    def begin(self, plan: Plan, requested_by: str) -> int:  # noqa: ARG002
        return 0

    def finish(self, id: int, outcome: Outcome, timings: Mapping[str, float]) -> None:  # noqa: A002
        pass

    def drained(self, id: int, *, finished: int, handed_over: int, cut: int, seconds: float) -> None:  # noqa: A002
        pass

    def entries(self, limit: int = 20) -> tuple[Entry, ...]:  # noqa: ARG002
        return ()

    def close(self) -> None:
        pass
