"""A group of members that act as the engine does, in an order that chance decides: clocks that differ, writes that come late,
deaths, cuts, refusals, joins and leaves. Time is turned, not waited for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from random import Random

from hitless.agent.group.knowledge import Knowledge
from hitless.agent.group.member import Member, Register, Verdict
from hitless.agent.group.protocol import EpochInProgress, Rules, advance, propose
from hitless.agent.group.record import Record

LEAD = 100
LEASE = 300
TICK = 40
STEP = 12
START = 1_000_000
RESOURCES = ("a", "b", "c", "d", "e")


@dataclass
class Node:
    """One member: renew, look, then at most one step of the record."""

    name: str
    skew: int
    knows: Knowledge
    register: Register
    lease_end: int
    next_tick: int
    is_dead: bool = False
    is_cut: bool = False
    hangs: bool = False
    """It neither prepares nor refuses."""
    refuses: bool = False
    lives: int = 1
    late: tuple[Record, int] | None = None
    """A write that is on its way: computed, not arrived."""


class Simulation:
    def __init__(self, seed: int, *, disturbed: bool = True, quorum: str = "all") -> None:
        self.random = Random(seed)
        self.rules = Rules(lead_ms=LEAD, prepare_ms=400, quorum=quorum)  # type: ignore[arg-type]
        self.is_disturbed = disturbed
        """Whether there are deaths and cuts: without, no tick may be left out."""
        self.now = START
        self.record, self.version = Record(), 0
        self.store: dict[str, tuple[Register, int]] = {}
        self.nodes: dict[str, Node] = {}
        self.polls: dict[tuple[int, str], list[tuple[str, int]]] = defaultdict(list)
        self.assignments: dict[int, tuple[int, str, tuple[str, ...]]] = {}
        self.configs = self.lives = 0
        for name in ("m1", "m2"):
            self.join(name)

    def run(self, steps: int) -> None:
        """Raises AssertionError: a promise is broken."""
        self.propose("m1")
        for _ in range(steps):
            self.now += self.random.randint(0, STEP)
            for node in self.random.sample(
                list(self.nodes.values()), self.random.randint(0, len(self.nodes))
            ):
                self.act(node)
            self.something_happens()
        self.come_to_rest()
        self.check()

    def something_happens(self) -> None:
        chance = self.random.random()
        name = self.random.choice(["m1", "m2", "m3", "m4"])
        node = self.nodes.get(name)
        if chance < 0.02:
            self.propose(name)
        elif chance < 0.04 and (node is None or node.is_dead):
            self.join(name)
        elif chance < 0.05 and node is not None and name != "m1":
            node.register = node.register.model_copy(update={"is_leaving": True})
        elif chance < 0.08 and node is not None:
            node.refuses, node.hangs = self.random.random() < 0.3, self.random.random() < 0.2
        elif chance < 0.15 and node is not None and node.late is not None:
            late, node.late = node.late, None
            self.write(*late)
        elif self.is_disturbed and chance < 0.16 and node is not None and name != "m1":
            node.is_dead = True
        elif self.is_disturbed and chance < 0.20 and node is not None:
            node.is_cut = not node.is_cut

    def join(self, name: str) -> None:
        self.lives += 1
        member = Member(name=name, incarnation=f"{self.lives:06}")
        skew = self.random.randint(-LEAD // 5, LEAD // 5)
        register = Register(member=member)
        self.store[member.id] = (register, self.now + LEASE)
        first = (self.now + skew) // TICK * TICK + TICK
        self.nodes[name] = Node(name, skew, Knowledge(member), register, self.now + LEASE, first)

    def has_left(self, node: Node) -> bool:
        """It has said so, and no tick that is to come is its."""
        return node.register.is_leaving and node.knows.is_out(self.now + node.skew)

    def propose(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is None:
            return
        self.configs += 1
        try:
            now = self.now + node.skew
            proposed = propose(self.record, f"c{self.configs}", by=name, now=now, rules=self.rules)
        except EpochInProgress:
            return
        self.write(proposed, self.version)

    # How a member acts

    def act(self, node: Node) -> None:
        if node.is_dead:
            return
        self.poll(node)
        if node.is_cut:
            return
        self.renew(node)
        self.look(node)
        self.poll(node)
        if self.has_left(node):
            self.store.pop(node.knows.me.id, None)
            node.is_dead = True

    def renew(self, node: Node) -> None:
        held = self.store.get(node.knows.me.id)
        if held is None or self.now >= held[1]:
            self.lives += 1
            me = Member(name=node.name, incarnation=f"{self.lives:06}")
            node.knows = replace(node.knows, me=me, armed=None)
            node.register = node.register.model_copy(update={"member": me, "armed": None, "verdict": None})
        node.lease_end = self.now + LEASE
        self.store[node.knows.me.id] = (node.register, node.lease_end)

    def look(self, node: Node) -> None:
        alive = {key: register for key, (register, until) in self.store.items() if self.now < until}
        node.knows = replace(node.knows, record=self.record).promise()
        self.put_in_force(node)
        verdict, draft = node.register.verdict, self.record.draft
        is_new = draft is not None and (verdict is None or verdict.epoch != draft.epoch)
        if draft is not None and is_new and node.knows.is_settled and not node.hangs:
            verdict = Verdict(epoch=draft.epoch, answer="refused" if node.refuses else "prepared", why="no")
        node.register = node.register.model_copy(
            update={"armed": node.knows.armed, "verdict": verdict, "epoch": node.knows.epoch}
        )
        step = advance(self.record, alive, self.now + node.skew, self.rules)
        if step is self.record:
            return
        if self.random.random() < 0.2:
            node.late = (step, self.version)
        else:
            self.write(step, self.version)

    def put_in_force(self, node: Node) -> None:
        """What has been committed, when its boundary has come; a member that was away catches up."""
        while (wanted := node.knows.wanted(self.now + node.skew)) is not None:
            self.poll(node)
            node.knows = replace(node.knows, epoch=wanted.epoch)

    def poll(self, node: Node) -> None:
        limit, knows = node.knows.limit(), node.knows
        while (
            self.now < node.lease_end
            and node.next_tick <= self.now + node.skew
            and (limit is None or node.next_tick < limit)
        ):
            for resource in RESOURCES:
                if knows.owns("g", resource, due=node.next_tick):
                    self.polled(node.next_tick, resource, node.name, knows.epoch)
            node.next_tick += TICK

    def polled(self, tick: int, resource: str, name: str, epoch: int) -> None:
        polls = self.polls[tick, resource]
        polls.append((name, epoch))
        assert len(polls) == 1, f"{resource} was polled twice at {tick}: {polls}"
        others = {self.polls[tick, each][0][1] for each in RESOURCES if self.polls.get((tick, each))}
        assert others == {epoch}, f"at {tick} two configurations were in force: {others}"

    def write(self, record: Record, version: int) -> None:
        if version != self.version:
            return
        self.record, self.version = record, version + 1
        for each in (self.record.before, self.record.assignment):
            if each is not None:
                said = (each.at, each.config, tuple(member.id for member in each.members))
                assert self.assignments.setdefault(each.number, said) == said, "an assignment was changed"

    # The end

    def come_to_rest(self) -> None:
        for node in self.nodes.values():
            node.is_cut, node.late, node.refuses, node.hangs = False, None, False, False
        if self.record.assignment is None:
            self.propose("m1")
        for _ in range(300):
            self.now += 10
            for node in list(self.nodes.values()):
                self.act(node)

    def check(self) -> None:
        record = self.record
        assert record.change is None, "the group did not come to rest"
        assert record.draft is None
        assert record.assignment is not None, record.outcomes
        there = sorted(each.name for each in self.nodes.values() if not each.is_dead)
        assert [each.name for each in record.assignment.members] == there
        if not self.is_disturbed:
            first = min(at for at, _, _ in self.assignments.values())
            last = max(tick for tick, _ in self.polls)
            ticks = range(-(-first // TICK) * TICK, last, TICK)
            missing = [(tick, each) for tick in ticks for each in RESOURCES if (tick, each) not in self.polls]
            assert not missing, f"ticks were left out: {missing[:5]}"
