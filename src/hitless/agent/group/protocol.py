"""How a group's record goes on. Pure: everything that decides stands in this file, and any member may take the next step.

    members changed, or a draft that all have prepared
        │
        ▼
    arming ──── every member that is there has promised the boundary ────► committed ──── the boundary passes ────► assignment
        │ ▲
        └─┘ the boundary came too near, or somebody died: another boundary, and new promises

A step is computed from what was read and written by compare-and-set, so of two members that take one, one is too late and
reads again. A step that was computed long ago fails too: whatever it was based on has changed.

Why no tick is ever polled by two, and none by two configurations:

1. A tick belongs to the assignment that its due time falls into. Due times are the same for all members (`grid`), and so
   are boundaries: no clock is asked whose tick it is.
2. An assignment is committed only when every member of the one before that has a lease has promised its boundary. Who has
   promised begins no tick at or after it before it has read whether it was committed. Who has no lease has stopped before its
   lease ran out, and boundaries are set into the future.
3. `committed` is one compare-and-set: it wins, or the one that sets another boundary wins.
4. The configuration is a part of the assignment: it changes at a boundary like the members do.

Clocks matter in one place: a member that has lost its lease must have begun no tick that is due after the next boundary. That
holds while clocks differ by less than `guard_ms`, half of the lead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from hitless.agent.group.member import Member, Register
from hitless.agent.group.record import Assignment, Change, Draft, EpochOutcome, Record

Registers = Mapping[str, Register]
"""Of the members whose leases have not run out, by member id."""
ATTEMPTS: Final = 8
"""Boundaries that are set for an epoch at least before it is given up."""


class EpochInProgress(Exception):
    """Another epoch is being prepared."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The same for all members of a group."""

    lead_ms: int
    """From setting a boundary to the boundary."""
    prepare_ms: int
    """For all members together to prepare an epoch."""
    quorum: Literal["all", "majority"] = "all"

    @property
    def guard_ms(self) -> int:
        """A boundary that is nearer than this is not committed any more."""
        return self.lead_ms // 2


def advance(record: Record, registers: Registers, now: int, rules: Rules) -> Record:
    """The record as it should be next; the same object if there is nothing to do. `now`: Unix time in milliseconds."""
    step = _Step(record, registers, now, rules)
    if record.change is None:
        return step.begin()
    return step.fold() if record.change.phase == "committed" else step.arm_on(record.change)


def propose(record: Record, config: str, *, by: str, now: int, rules: Rules) -> Record:
    """The record with a new epoch that is to be prepared.

    Raises:
        EpochInProgress: one at a time.
    """
    if record.draft is not None:
        raise EpochInProgress(
            f"epoch {record.draft.epoch} of {record.draft.by} is in progress; wait for its end"
        )
    number = record.epochs + 1
    draft = Draft(epoch=number, config=config, by=by, expires=now + rules.prepare_ms)
    return record.model_copy(update={"epochs": number, "draft": draft})


def eligible(record: Record, registers: Registers) -> tuple[Member, ...]:
    """Who should poll: those who do, while they are there, and those who are ready to; one of each name."""
    current = record.assignment
    polling = {} if current is None else {each.name: each for each in current.members}
    found: dict[str, Member] = {}
    for register in sorted(registers.values(), key=lambda each: each.member.incarnation):
        member = register.member
        if current is None or register.is_leaving:
            continue
        polled = polling.get(member.name, member)
        is_ready = register.epoch == current.epoch and found.get(member.name) != polled
        if member == polling.get(member.name) or is_ready:
            found[member.name] = member
    return tuple(found[name] for name in sorted(found))


@dataclass(frozen=True, slots=True)
class _Step:
    record: Record
    registers: Registers
    now: int
    rules: Rules

    # Nothing is under way

    def begin(self) -> Record:
        record = self.record
        if record.draft is not None:
            settled = self.judge(record.draft)
            if settled is not record:
                return settled
        members = eligible(record, self.registers)
        current = record.assignment
        if current is None or not members or members == current.members:
            return record
        return self.set_boundary(members, current.epoch, current.config)

    def judge(self, draft: Draft) -> Record:
        """A draft that everybody has prepared gets its boundary; one that somebody has refused ends."""
        voters = self.voters()
        prepared = tuple(each for each in voters if self.answer(each, draft) == "prepared")
        refused = [each for each in voters if self.answer(each, draft) == "refused"]
        silent = [each for each in voters if self.answer(each, draft) == ""]
        is_late = self.now >= draft.expires
        if self.rules.quorum == "majority":
            if (is_late or not silent) and 2 * len(prepared) > len(voters):
                return self.set_boundary(prepared, draft.epoch, draft.config)
            if refused and 2 * len(refused) >= len(voters):
                return self.refuse(draft, refused[0])
        elif refused:
            return self.refuse(draft, refused[0])
        if voters and len(prepared) == len(voters):
            return self.set_boundary(prepared, draft.epoch, draft.config)
        if not is_late:
            return self.record
        if not voters:
            return self.end(draft, "abandoned", why="no member is there")
        if not silent:
            return self.refuse(draft, refused[0])
        return self.end(draft, "timed_out", who=_names(silent), why="had not prepared it in time")

    def voters(self) -> tuple[Member, ...]:
        """Who has to prepare: those who poll, and would go on; before anybody does, all that are there."""
        if self.record.assignment is not None:
            return eligible(self.record, self.registers)
        by_name = {
            each.member.name: each.member
            for each in sorted(self.registers.values(), key=lambda each: each.member.incarnation)
            if not each.is_leaving
        }
        return tuple(by_name[name] for name in sorted(by_name))

    def answer(self, member: Member, draft: Draft) -> str:
        verdict = self.registers[member.id].verdict
        return verdict.answer if verdict is not None and verdict.epoch == draft.epoch else ""

    # A boundary is set

    def set_boundary(self, members: tuple[Member, ...], epoch: int, config: str, attempt: int = 1) -> Record:
        """A number is never used twice, nor is a pair of number and attempt."""
        number = self.record.numbers + (attempt == 1)
        following = Assignment(
            number=number, at=self.now + self.rules.lead_ms, members=members, epoch=epoch, config=config
        )
        change = Change(phase="arming", attempt=attempt, next=following)
        return self.record.model_copy(update={"numbers": number, "change": change})

    def arm_on(self, change: Change) -> Record:
        """Commit it if everybody has promised; set another boundary if this one cannot be had."""
        record, draft = self.record, self.record.draft
        is_epoch = draft is not None and change.next.epoch == draft.epoch
        if draft is not None and is_epoch:
            refused = self.turned(draft, change)
            if refused is not None:
                return refused
        members = self.wanted(change, draft if is_epoch else None)
        if not members or (not is_epoch and record.assignment and members == record.assignment.members):
            return self.drop(draft if is_epoch else None)
        if members != change.next.members:
            return self.again(change, members)
        waited_for = self.unarmed(change)
        if self.now < change.at - self.rules.guard_ms:
            return record if waited_for else self.commit(change)
        if draft is not None and is_epoch and self.now >= draft.expires and change.attempt >= ATTEMPTS:
            return self.end(draft, "timed_out", who=_names(waited_for), why="did not promise the boundary")
        return self.again(change, members)

    def turned(self, draft: Draft, change: Change) -> Record | None:
        """Somebody who had prepared it cannot do it after all."""
        refused = [each for each in change.next.members if each.id in self.registers]
        refused = [each for each in refused if self.answer(each, draft) == "refused"]
        if refused and self.rules.quorum == "all":
            return self.refuse(draft, refused[0])
        return None

    def wanted(self, change: Change, draft: Draft | None) -> tuple[Member, ...]:
        if draft is None:
            return eligible(self.record, self.registers)
        there = [each for each in change.next.members if each.id in self.registers]
        return tuple(
            each
            for each in there
            if not self.registers[each.id].is_leaving and self.answer(each, draft) == "prepared"
        )

    def unarmed(self, change: Change) -> list[Member]:
        """Whose promise is missing: of all that poll now or would then, and are there."""
        current = () if self.record.assignment is None else self.record.assignment.members
        involved = {each.id: each for each in (*current, *change.next.members)}
        promise = (change.next.number, change.attempt)
        missing = []
        for member in involved.values():
            register = self.registers.get(member.id)
            armed = None if register is None else register.armed
            if register is not None and (armed is None or (armed.change, armed.attempt) != promise):
                missing.append(member)
        return missing

    def again(self, change: Change, members: tuple[Member, ...]) -> Record:
        following = change.next
        return self.set_boundary(members, following.epoch, following.config, change.attempt + 1)

    def drop(self, draft: Draft | None) -> Record:
        if draft is not None:
            return self.end(draft, "abandoned", why="no member that has prepared it is left")
        return self.record.model_copy(update={"change": None})

    def commit(self, change: Change) -> Record:
        committed = change.model_copy(update={"phase": "committed"})
        record = self.record.model_copy(update={"change": committed})
        draft = record.draft
        if draft is None or draft.epoch != change.next.epoch:
            return record
        outcome = EpochOutcome(
            epoch=draft.epoch, config=draft.config, status="committed", by=draft.by, at=self.now
        )
        return record.model_copy(update={"draft": None, "outcomes": record.ended(outcome)})

    # A boundary has passed

    def fold(self) -> Record:
        change = self.record.change
        assert change is not None
        if self.now < change.at:
            return self.record
        update = {"before": self.record.assignment, "assignment": change.next, "change": None}
        return self.record.model_copy(update=update)

    # An epoch ends without being committed

    def refuse(self, draft: Draft, who: Member) -> Record:
        verdict = self.registers[who.id].verdict
        return self.end(draft, "refused", who=who.name, why="" if verdict is None else verdict.why)

    def end(
        self,
        draft: Draft,
        status: Literal["refused", "timed_out", "abandoned"],
        *,
        who: str = "",
        why: str = "",
    ) -> Record:
        outcome = EpochOutcome(
            epoch=draft.epoch, config=draft.config, status=status, who=who, why=why, by=draft.by, at=self.now
        )
        change = self.record.change
        keeps = change is not None and change.next.epoch != draft.epoch
        update = {"draft": None, "change": change if keeps else None, "outcomes": self.record.ended(outcome)}
        return self.record.model_copy(update=update)


def _names(members: list[Member]) -> str:
    return ", ".join(each.name for each in members)
