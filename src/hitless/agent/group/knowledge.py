"""What a member may poll, by what it has read and promised. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hitless.agent.group.member import Armed, Member
from hitless.agent.group.record import Assignment, Record
from hitless.agent.group.ring import ring_of
from hitless.agent.polling.discovery import LOCAL


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Of one member, as long as it has its lease: nothing can be committed without its promise."""

    me: Member
    record: Record = Record()  # noqa: RUF009 - frozen
    armed: Armed | None = None
    epoch: int = 0
    """Whose configuration it polls by."""

    def limit(self) -> int | None:
        """Ticks that are due at or after this time (ms) cannot be begun yet; None: all can.

        Either it is not decided whose they are, or another configuration is to be put in force for them first.
        """
        change, assignment = self.record.change, self.record.assignment
        bounds = []
        if change is not None and change.phase == "arming" and self.has_promised:
            bounds.append(change.at)
        if change is not None and change.phase == "committed" and change.next.epoch > self.epoch:
            bounds.append(change.at)
        if assignment is not None and assignment.epoch > self.epoch:
            bounds.append(assignment.at)
        return min(bounds, default=None)

    @property
    def has_promised(self) -> bool:
        """Whether its last promise is about the boundary that is set now."""
        change, armed = self.record.change, self.armed
        if change is None or armed is None:
            return False
        return (change.next.number, change.attempt) == (armed.change, armed.attempt)

    def promise(self) -> Knowledge:
        """Promises the boundary that is set. The limit holds from this moment, before anybody else can know of it."""
        change = self.record.change
        if change is None or change.phase != "arming" or self.has_promised:
            return self
        return replace(self, armed=Armed(change=change.next.number, attempt=change.attempt, at=change.at))

    def wanted(self, now: int) -> Assignment | None:
        """The assignment whose configuration is to be put in force now (ms), because its boundary has come."""
        change = self.record.change
        following = change.next if change is not None and change.phase == "committed" else None
        for each in (self.record.assignment, following):
            if each is not None and each.epoch > self.epoch and each.at <= now:
                return each
        return None

    @property
    def is_settled(self) -> bool:
        """Whether all that is committed is in force: another epoch may be prepared."""
        change = self.record.change
        following = change.next if change is not None and change.phase == "committed" else None
        return all(each is None or each.epoch <= self.epoch for each in (self.record.assignment, following))

    def is_out(self, now: int) -> bool:
        """Whether no tick that is due at or after this time (ms) is this member's, nor will be if it is leaving."""
        record = self.record
        if record.assignment is not None and now < record.assignment.at:
            return False
        following = None if record.change is None else record.change.next
        return all(each is None or self.me not in each.members for each in (record.assignment, following))

    def share(self, due: int) -> tuple[Member, ...]:
        """Those who share a tick that is due at this time (ms), if this member is one of them, else nobody.

        A tick that belongs to another configuration than the one in force is left out: it comes too late.
        """
        assignment = self.record.at(due)
        if assignment is None or self.me not in assignment.members or assignment.epoch != self.epoch:
            return ()
        return assignment.members

    def owns(self, group_id: str, resource: str, *, due: int) -> bool:
        """Whether it is the one that polls the resource in the tick that is due at this time (ms)."""
        members = self.share(due)
        if group_id == LOCAL:
            members = tuple(each for each in members if each.host == self.me.host)
        return ring_of(members).owner(f"{group_id}\0{resource}") == self.me
