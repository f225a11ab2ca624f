"""The plan: every step and every gate of a rollout, as plain data, complete before anything runs.

A plan is made of turns, one after the other. A turn has steps; those of several nodes in one turn run side by side, each
node's own in order. Nothing in here looks at the world or changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from hitless.change import JSON, digest

Kind = Literal[
    "hook", "check", "backup", "expand", "migrate", "contract", "verify",
    "drain", "stop", "upgrade", "start", "probe", "ready", "soak",
]  # fmt: skip
Direction = Literal["upgrade", "rollback"]

OF_A_NODE: Final[tuple[Kind, ...]] = ("drain", "stop", "upgrade", "start", "probe", "ready", "soak")
"""In the order in which a node goes through them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fact of the world that has to become true."""

    id: str
    """Unique in its plan: `n1.drain`, `expand`."""
    kind: Kind
    about: str
    """What is done."""
    gate: str
    """What must hold before; measured when the step's time has come."""
    proof: str
    """What is measured after it."""
    deadline_s: float
    node: str | None = None
    hook: str | None = None

    def to_json(self) -> dict[str, JSON]:
        return {
            "id": self.id,
            "kind": self.kind,
            "about": self.about,
            "gate": self.gate,
            "proof": self.proof,
            "deadline_s": self.deadline_s,
            "node": self.node,
            "hook": self.hook,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Turn:
    """Steps that belong together; no step of the next turn begins before all of them are done."""

    name: str
    steps: tuple[Step, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.node for step in self.steps if step.node is not None))

    def of(self, node: str) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.node == node)

    def to_json(self) -> dict[str, JSON]:
        return {"name": self.name, "steps": [step.to_json() for step in self.steps]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Turn:
        return cls(data["name"], tuple(Step.from_json(each) for each in data["steps"]))


@dataclass(frozen=True, slots=True)
class Plan:
    """From what runs now to one release on every node."""

    service: str
    direction: Direction
    release: str
    """Where every node is to be at the end."""
    before: str | None
    """The release that the others run now; None if all of them run the new one already, or none runs at all."""
    found: Mapping[str, str]
    """What was seen of each node when the plan was made."""
    turns: tuple[Turn, ...]
    inputs: str = ""
    """SHA-256 of the settings that it was made from."""
    notes: tuple[str, ...] = ()

    def steps(self) -> Iterator[Step]:
        for turn in self.turns:
            yield from turn.steps

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that would change anything."""
        return not any(step.kind not in ("check", "verify", "hook", "backup") for step in self.steps())

    @property
    def id(self) -> str:
        """The same for equal plans."""
        return digest(self.to_json())[:12]

    def to_json(self) -> dict[str, JSON]:
        return {
            "service": self.service,
            "direction": self.direction,
            "release": self.release,
            "before": self.before,
            "found": dict(self.found),
            "turns": [turn.to_json() for turn in self.turns],
            "inputs": self.inputs,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        return cls(
            data["service"],
            data["direction"],
            data["release"],
            data["before"],
            data["found"],
            tuple(Turn.from_json(each) for each in data["turns"]),
            data["inputs"],
            tuple(data["notes"]),
        )
