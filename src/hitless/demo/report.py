"""What a demonstration showed, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: what was done came out as `outcome`, and this is what the clients saw meanwhile."""

    name: str
    outcome: str
    requests: int = 0
    failed: int = 0
    closed_by_server: int = 0
    max_ms: float = 0.0
    as_expected: bool = True
    """Whether the outcome is the one that the step is there to show."""

    @property
    def ok(self) -> bool:
        return self.as_expected and not self.failed and not self.closed_by_server

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "outcome": self.outcome,
            "requests": self.requests,
            "failed": self.failed,
            "closed_by_server": self.closed_by_server,
            "max_ms": round(self.max_ms, 1),
        }


@dataclass(frozen=True, slots=True)
class DemoReport:
    """One part of the demonstration."""

    part: str
    steps: tuple[StepReport, ...]

    @property
    def failed(self) -> int:
        return sum(step.failed for step in self.steps)

    @property
    def closed_by_server(self) -> int:
        return sum(step.closed_by_server for step in self.steps)

    @property
    def ok(self) -> bool:
        return bool(self.steps) and all(step.ok for step in self.steps)

    def as_json(self) -> dict[str, object]:
        return {
            "part": self.part,
            "ok": self.ok,
            "failed": self.failed,
            "closed_by_server": self.closed_by_server,
            "steps": [step.as_json() for step in self.steps],
        }
