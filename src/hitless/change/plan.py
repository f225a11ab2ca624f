"""A plan: what a change would do, as a value that can be printed, compared and stored before anything moves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from hitless.change.wire import JSON

SHOWN_LIMIT: Final = 300
"""Of a value, in characters: a list of thousands of resources says no more in whole. `to_json` has all of it."""

Kind = Literal["start", "reload", "scale", "rollback", "upgrade", "stop", "restart", "recreate"]
How = Literal["live", "new generation"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is not what it was. None stands for "not set"; a secret shows as `***` on both sides."""

    key: str
    old: JSON
    new: JSON

    def __str__(self) -> str:
        if self.old == self.new:
            return f"{self.key}: changed"
        return f"{self.key}: {_shown(self.old)} → {_shown(self.new)}"

    def to_json(self) -> dict[str, JSON]:
        return {"key": self.key, "old": self.old, "new": self.new}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is known of a change before it begins."""

    kind: Kind
    from_generation: int
    to_generation: int
    differences: tuple[Difference, ...] = ()
    applied_hash: str | None = None
    """Hash of the settings that serve now."""
    attempted_hash: str | None = None
    """Hash of the settings that would serve."""
    steps: tuple[str, ...] = ()
    """What would be built and what kept, in order, one short phrase each."""
    settings: Mapping[str, JSON] | None = field(default=None, repr=False)
    """The settings that would serve, secrets included: for the journal, so not in `to_json` or `lines`."""
    how: How | None = None
    """Whether it is made inside the running processes or by new ones, where both are possible."""
    why: str = ""
    """Why so, in a phrase."""
    changes_nothing: bool = False
    """Whether there is nothing to do: the change then ends as unchanged, without a prepare."""
    subject: str = ""
    """What is changed, where one journal is of many things: a container's name."""

    def to_json(self) -> dict[str, JSON]:
        return {
            "kind": self.kind,
            "from_generation": self.from_generation,
            "to_generation": self.to_generation,
            "differences": [each.to_json() for each in self.differences],
            "applied_hash": self.applied_hash,
            "attempted_hash": self.attempted_hash,
            "steps": list(self.steps),
            "how": self.how,
            "why": self.why,
            "changes_nothing": self.changes_nothing,
            **({"subject": self.subject} if self.subject else {}),
        }

    def lines(self) -> tuple[str, ...]:
        """The plan for people: what it is, what differs, what would be done."""
        head = f"{self.kind}: generation {self.from_generation} → {self.to_generation}"
        if self.changes_nothing:
            return (f"{self.kind}: nothing to change; generation {self.from_generation} stays",)
        how = () if self.how is None else (f"  {self.how}: {self.why}",)
        return (
            head,
            *how,
            *(f"  {each}" for each in self.differences),
            *(f"  - {step}" for step in self.steps),
        )

    def done(self) -> str:
        """What is told when it has been made."""
        serves = f"generation {self.to_generation} serves"
        if self.how is None:
            return serves
        return f"{serves}, changed in place" if self.how == "live" else f"{serves}; new processes: {self.why}"


def _shown(value: JSON) -> str:
    if value is None:
        return "(not set)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]}… ({len(text)} characters)"
