"""What a group looks like from outside: who polls what by which configuration, and who is not like the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from hitless.agent.group.coordinator import Sight
from hitless.agent.group.member import Register
from hitless.agent.group.record import EpochOutcome
from hitless.change import JSON

Role = Literal["polling", "waiting", "leaving"]


@dataclass(frozen=True, slots=True)
class MemberState:
    name: str
    incarnation: str
    host: str
    pid: int
    role: Role
    """polling: it has a share; waiting: it has none yet; leaving: it hands over."""
    epoch: int
    applied: str
    attempted: str
    drifts: bool
    """Whether what it polls by is not what the group polls by."""
    trouble: str


@dataclass(frozen=True, slots=True)
class GroupState:
    name: str
    number: int
    """Of the assignment: how often work was shared out anew."""
    epoch: int
    config: str
    boundary: float
    """Unix time from which the assignment holds."""
    members: tuple[MemberState, ...]
    missing: tuple[str, ...]
    """Who has a share and is not there."""
    under_way: str
    """What is about to change, as a sentence; empty if nothing is."""
    outcomes: tuple[EpochOutcome, ...]

    @property
    def drift(self) -> int:
        """How many members do not poll by what the group polls by. More than 0 for longer than a change takes is an alarm."""
        return sum(each.drifts for each in self.members)

    def to_json(self) -> dict[str, JSON]:
        return {
            "group": self.name,
            "assignment": self.number,
            "epoch": self.epoch,
            "config": self.config,
            "boundary": self.boundary,
            "drift": self.drift,
            "members": [asdict(each) for each in self.members],
            "missing": list(self.missing),
            "under_way": self.under_way,
            "outcomes": [each.model_dump(mode="json") for each in self.outcomes],
        }

    @classmethod
    def of(cls, name: str, sight: Sight) -> GroupState:
        record, assignment = sight.record, sight.record.assignment
        change = record.change
        if change is not None and change.phase == "committed" and change.next.epoch:
            assignment = assignment or change.next
        config = "" if assignment is None else assignment.config
        shares = () if assignment is None else assignment.members
        return cls(
            name=name,
            number=0 if assignment is None else assignment.number,
            epoch=0 if assignment is None else assignment.epoch,
            config=config,
            boundary=0.0 if assignment is None else assignment.at / 1000,
            members=tuple(
                _member(each, config, shares=each.member in shares)
                for each in _sorted(sight.registers.values())
            ),
            missing=tuple(each.name for each in shares if each.id not in sight.registers),
            under_way=_under_way(sight),
            outcomes=record.outcomes,
        )


def _sorted(registers: Iterable[Register]) -> list[Register]:
    return sorted(registers, key=lambda each: each.member.id)


def _member(register: Register, config: str, *, shares: bool) -> MemberState:
    role: Role = "leaving" if register.is_leaving else "polling" if shares else "waiting"
    return MemberState(
        name=register.member.name,
        incarnation=register.member.incarnation,
        host=register.member.host,
        pid=register.pid,
        role=role,
        epoch=register.epoch,
        applied=register.applied,
        attempted=register.attempted,
        drifts=register.applied != config,
        trouble=register.trouble,
    )


def _under_way(sight: Sight) -> str:
    draft, change = sight.record.draft, sight.record.change
    if draft is not None:
        prepared = [
            each.member.name
            for each in _sorted(sight.registers.values())
            if each.verdict is not None and each.verdict.epoch == draft.epoch
        ]
        return f"epoch {draft.epoch} of {draft.by} is being prepared; answered: {', '.join(prepared) or 'nobody'}"
    if change is not None:
        names = ", ".join(each.name for each in change.next.members)
        return f"assignment {change.next.number} to {names} is {change.phase}"
    return ""
