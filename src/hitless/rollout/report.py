"""The state of a rollout in sentences: what each step is at, and what is waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hitless.change import JSON
from hitless.rollout.journal import Journal, RolloutRow, StepRow


@dataclass(frozen=True, slots=True)
class Report:
    row: RolloutRow
    steps: Mapping[str, StepRow]
    holder: str | None
    """Who is at work on it."""
    waits_for: tuple[str, ...]

    @property
    def done(self) -> int:
        return sum(row.state in ("done", "seen") for row in self.steps.values())

    @property
    def total(self) -> int:
        return sum(1 for _ in self.row.plan.steps())

    def to_json(self) -> dict[str, JSON]:
        steps: list[JSON] = []
        for step in self.row.plan.steps():
            found = self.steps.get(step.id)
            state: dict[str, JSON] = found.to_json() if found else {"state": "planned"}
            steps.append({"id": step.id, "kind": step.kind, "node": step.node, **state})
        return {
            **self.row.to_json(),
            "is_at_work": self.holder is not None,
            "holder": self.holder,
            "waits_for": list(self.waits_for),
            "done": self.done,
            "total": self.total,
            "steps": steps,
        }


def report(row: RolloutRow, journal: Journal, holder: str | None) -> Report:
    """The report of one rollout, from its journal."""
    steps = journal.steps(row.id)
    return Report(row, steps, holder, tuple(_waits(row, steps, holder)))


def _waits(row: RolloutRow, steps: Mapping[str, StepRow], holder: str | None) -> Iterator[str]:
    """The questions in the order in which they matter: is it over, is anybody at work, at what."""
    if not row.is_open:
        return
    if row.status == "paused":
        yield f"somebody to resume, abort or roll back: {row.message}"
        return
    if holder is None:
        yield "a runner: the last one is gone without a word; run: hitless rollout resume"
        return
    if row.wish:
        yield f"a moment to {row.wish}: no node must be out of service"
    now = time.time()
    for step in row.plan.steps():
        found = steps.get(step.id)
        if found is not None and found.state == "running":
            since = f"for {now - (found.started_at or now):.0f} s"
            yield f"{step.id} {since}: {found.note or step.proof}"
