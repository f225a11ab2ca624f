"""From what is wanted and what was seen to a plan. Pure: the same survey gives the same plan.

    prepare ─► first node: drain, stop, upgrade ─► expand ─► migrate to zero ─► start, probe, ready, soak
            ─► each batch: drain, stop, upgrade, start, probe, ready, soak ─► verify every node ─► migrate the rest ─► contract

The order is that of Glance's rolling upgrades. The first node is stopped before the database is expanded, so that the database's
tools run from the new release; the old release goes on running on the expanded schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hitless.rollout.gates import BEFORE
from hitless.rollout.inventory import Node
from hitless.rollout.plan import OF_A_NODE, Direction, Kind, Plan, Step, Turn
from hitless.rollout.reading import Rollout
from hitless.rollout.settings import DatabaseSettings
from hitless.rollout.state import Hints, is_behind, next_kind
from hitless.rollout.world import Survey, World
from hitless.schema import State

DATABASE_S: Final = 7 * 86400.0
"""The phases have deadlines of their own (`hitless db`); this one only keeps a step from having none."""
CHANGES: Final[tuple[Kind, ...]] = (*OF_A_NODE, "expand", "migrate", "contract")


class Planner:
    """Makes the plan of one rollout."""

    def __init__(self, world: World, survey: Survey, direction: Direction = "upgrade") -> None:
        self._world: Final = world
        self._rollout: Final[Rollout] = world.rollout
        self._settings: Final = world.rollout.settings
        self._survey: Final = survey
        self._direction: Final[Direction] = direction

    def plan(self) -> Plan:
        waiting = [node for node in self._in_order() if self._upcoming(node) is not None]
        turns = tuple(turn for turn in self._turns(waiting) if turn.steps)
        if not any(step.kind in CHANGES for turn in turns for step in turn.steps):
            turns = (Turn("prepare", (self._check(),)), Turn("verify", (self._verify(),)))
        return Plan(
            service=self._settings.service,
            direction=self._direction,
            release=self._rollout.release,
            before=self._before(),
            found={
                name: str(self._survey.seen[name])
                for name in self._rollout.nodes
                if name in self._survey.seen
            },
            turns=turns,
            inputs=self._rollout.hash,
            notes=tuple(
                f"not everything could be seen: {error.message}" for error in self._survey.errors.values()
            ),
        )

    def _turns(self, waiting: Sequence[Node]) -> Iterator[Turn]:
        yield Turn("prepare", tuple(self._prepare()))
        if waiting:
            yield Turn(f"first node: {waiting[0].name}", tuple(self._first(waiting[0])))
        else:
            yield Turn("database", tuple(self._between()))
        for nodes in _in_batches(waiting[1:], self._rollout.batch):
            names = ", ".join(node.name for node in nodes)
            yield Turn(names, tuple(step for node in nodes for step in self._of_node(node, OF_A_NODE)))
        yield Turn("verify", (self._verify(),))
        yield Turn("contract", tuple(self._contract()))
        yield Turn("after", tuple(self._hook("after", "after")))

    def _prepare(self) -> Iterator[Step]:
        yield from self._hook("before", "before")
        yield self._check()
        if self._database is not None and self._database.backup and self._direction == "upgrade":
            yield Step(
                "backup",
                "backup",
                "take a backup of the database",
                "",
                "it was read back and is whole",
                DATABASE_S,
            )

    def _check(self) -> Step:
        seconds = self._settings.deadlines.observe * len(BEFORE)
        about = "look at nodes, balancers and database"
        return Step("check", "check", about, "", "all answer and fit together", seconds)

    def _first(self, node: Node) -> Iterator[Step]:
        yield from self._of_node(node, ("drain", "stop", "upgrade"))
        yield from self._between()
        yield from self._of_node(node, ("start", "probe", "ready", "soak"))

    def _between(self) -> Iterator[Step]:
        state = self._survey.state
        if state is None or self._direction == "rollback":
            return
        if state.expand:
            yield Step(
                "expand", "expand", f"add what release {self._rollout.release} needs: {', '.join(state.expand)}",
                "a backup was taken" if self._database and self._database.backup else "",
                "no expand revision is left", DATABASE_S,
            )  # fmt: skip
        if _has_data(state):
            yield self._migrate("migrate", state)

    def _migrate(self, id_: str, state: State) -> Step:
        names = ", ".join((*state.pending, *state.unknown))
        return Step(
            id_,
            "migrate",
            f"move rows to zero: {names}",
            "every expand revision has run",
            "no row waits",
            DATABASE_S,
        )

    def _contract(self) -> Iterator[Step]:
        state = self._survey.state
        if state is None or self._database is None or self._direction == "rollback":
            return
        if not state.contract or self._database.contract == "leave":
            return
        if _has_data(state):
            yield self._migrate("migrate.rest", state)
        yield from self._hook("before_contract", "before_contract")
        yield Step(
            "contract", "contract", f"remove what only older releases need: {', '.join(state.contract)}",
            "every node proves the new release, no session is of an old one, no row waits, a backup is readable",
            "no contract revision is left", DATABASE_S,
        )  # fmt: skip

    def _verify(self) -> Step:
        return Step(
            "verify", "verify", "ask every node which release it runs, and whether it serves", "",
            f"all {len(self._rollout.nodes)} prove release {self._rollout.release}",
            self._settings.deadlines.health,
        )  # fmt: skip

    def _of_node(self, node: Node, kinds: Sequence[Kind]) -> Iterator[Step]:
        upcoming = self._upcoming(node)
        for kind in kinds:
            if kind == kinds[0] and kind == "drain":
                yield from self._hook("before_node", f"{node.name}.before", node=node.name)
            if not is_behind(kind, upcoming) and (self._settings.balancers or kind not in ("drain", "ready")):
                yield self._step(node, kind)
            if kind == "soak":
                yield from self._hook("after_node", f"{node.name}.after", node=node.name)

    def _step(self, node: Node, kind: Kind) -> Step:
        about, gate, proof, seconds = self._described(node, kind)
        return Step(f"{node.name}.{kind}", kind, about, gate, proof, seconds, node.name)

    def _described(self, node: Node, kind: Kind) -> tuple[str, str, str, float]:
        settings, release = self._settings, self._rollout.release
        deadlines = settings.deadlines
        does = self._world.process.said(self._world.hand(node))
        soak = self._soak(node)
        passes = f"{settings.health.passes} healthy answers in a row, and release {release}"
        gate = "the schema is expanded" if self._survey.state else ""
        up = f"{self._rollout.min_up} other nodes are up"
        rows: dict[Kind, tuple[str, str, str, float]] = {
            "drain": ("no new work", up, "no session and nothing queued on any balancer", deadlines.drain),
            "stop": (does["stop"], "it has no work", "no process is left, nothing answers", deadlines.stop),
            "upgrade": (does["upgrade"], "no process is left", f"{release} is installed", deadlines.upgrade),
            "start": (does["start"], gate, "it was started", deadlines.start),
            "probe": ("ask it directly", "", passes, deadlines.health),
            "ready": ("work for it again", "it is healthy", "every balancer has it up", deadlines.ready),
            "soak": (f"watch it for {soak:g} s", "", "healthy, on its release", soak + deadlines.health),
        }
        return rows[kind]

    def _soak(self, node: Node) -> float:
        canary = self._settings.canary
        is_first = self._in_order()[0].name == node.name
        return canary.soak if is_first and canary.soak is not None else self._settings.soak

    def _hook(self, hook: str, id_: str, node: str | None = None) -> Iterator[Step]:
        command: tuple[str, ...] = getattr(self._settings.hooks, hook)
        if command:
            yield Step(
                id_,
                "hook",
                f"run {' '.join(command)}",
                "",
                "it exits with 0",
                self._settings.deadlines.hook,
                node,
                hook,
            )

    def _in_order(self) -> list[Node]:
        """Nodes that serve nobody, whose upgrade costs nothing and gives capacity; the canary; the others. On the way back the
        other way round, the last one that was upgraded first."""
        first = self._settings.canary.node
        nodes = sorted(self._rollout.nodes.values(), key=lambda node: node.name != first)
        nodes = nodes if self._direction == "upgrade" else nodes[::-1]
        return sorted(nodes, key=lambda node: self._is_serving(node.name))

    def _is_serving(self, name: str) -> bool:
        seen = self._survey.seen.get(name)
        return seen is None or seen.is_serving

    def _upcoming(self, node: Node) -> Kind | None:
        """What comes next for it. A node that runs the release already, healthy and with traffic, needs nothing."""
        seen = self._survey.seen.get(node.name)
        if seen is None:
            return "drain"
        health = self._survey.health.get(node.name)
        return next_kind(seen, self._rollout.release, Hints(has_soaked=health is not None and health.ok))

    def _before(self) -> str | None:
        old = {seen.release for seen in self._survey.seen.values() if seen.release} - {self._rollout.release}
        known = [name for name in self._settings.releases if name in old]
        return known[0] if known else None

    @property
    def _database(self) -> DatabaseSettings | None:
        return self._settings.database


def _has_data(state: State) -> bool:
    return bool(state.pending or state.unknown)


def _in_batches(nodes: Sequence[Node], size: int) -> Iterator[Sequence[Node]]:
    for begin in range(0, len(nodes), size):
        yield nodes[begin : begin + size]
