"""What differs between two plans, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hitless.change import JSON
from hitless.rollout.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class Change:
    """One step that is new, gone, or described otherwise."""

    sign: Literal["+", "-", "~"]
    step: str
    before: str
    after: str

    def to_json(self) -> dict[str, JSON]:
        return {"sign": self.sign, "step": self.step, "before": self.before, "after": self.after}


def difference(before: Plan | None, after: Plan) -> tuple[Change, ...]:
    """From one plan to another; everything is new where there was none."""
    return tuple(_changes({} if before is None else _described(before), _described(after)))


def _changes(old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    for step, text in old.items():
        if step not in new:
            yield Change("-", step, text, "")
    for step, text in new.items():
        if step not in old:
            yield Change("+", step, "", text)
        elif old[step] != text:
            yield Change("~", step, old[step], text)


def _described(plan: Plan) -> dict[str, str]:
    return {step.id: _text(step, plan) for step in plan.steps()}


def _text(step: Step, plan: Plan) -> str:
    parts = (step.about, f"to release {plan.release}", step.gate, step.proof, f"within {step.deadline_s:g} s")
    return "; ".join(part for part in parts if part)
