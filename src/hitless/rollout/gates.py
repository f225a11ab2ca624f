"""What must hold before a rollout begins, or goes on: small questions about one survey. Measured, never assumed: what could not
be looked at does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from hitless.change import JSON
from hitless.rollout.errors import Rejected, RolloutError
from hitless.rollout.plan import Direction
from hitless.rollout.reading import Rollout
from hitless.rollout.state import Traffic
from hitless.rollout.traffic import together
from hitless.rollout.world import Survey


@dataclass(frozen=True, slots=True)
class Gate:
    name: str
    holds: bool
    message: str
    """What was found."""

    def to_json(self) -> dict[str, JSON]:
        return {"name": self.name, "holds": self.holds, "message": self.message}


Question = Callable[[Rollout, Survey], Gate]


def answered(rollout: Rollout, survey: Survey) -> Gate:
    """Everything that takes part can be asked."""
    if survey.errors:
        return Gate("answers", False, "; ".join(error.message for error in survey.errors.values()))
    return Gate("answers", True, f"{len(survey.seen)} nodes and all else answer")


def one_inventory(rollout: Rollout, survey: Survey) -> Gate:
    """The balancers, the heartbeats and the inventory know the same nodes: a node that only some know would be left behind on
    the old release, and break when contract comes."""
    found = "; ".join(_differences(rollout, survey))
    return Gate("inventory", not found, found or f"{len(rollout.nodes)} nodes, the same everywhere")


def _differences(rollout: Rollout, survey: Survey) -> Iterator[str]:
    listed = {node.server for node in rollout.nodes.values()}
    for balancer, servers in survey.servers.items():
        for name in sorted(servers.keys() - listed):
            yield f"the balancer {balancer} has the server {name}, which is no node; list it, or remove it there"
        for name in sorted(listed - servers.keys()):
            yield f"the balancer {balancer} has no server {name}; add it there, or remove the node"
    for node, release in (survey.known.heartbeats if survey.known else {}).items():
        if node not in rollout.nodes:
            yield f"{node} writes heartbeats of release {release} into the database, and is no node; list it, or stop it"


def known_releases(rollout: Rollout, survey: Survey) -> Gate:
    """Every node runs a release that is listed, none a newer one, and the old ones all the same."""
    names = list(rollout.settings.releases)
    found = {seen.release or seen.installed for seen in survey.seen.values()} - {None}
    for seen in survey.seen.values():
        if seen.release is not None and seen.release not in names:
            return Gate(
                "releases",
                False,
                f"{seen.node} runs {seen.release}, which is no release here; list it in releases",
            )
        if seen.release is not None and names.index(seen.release) > names.index(rollout.release):
            return Gate(
                "releases",
                False,
                f"{seen.node} runs release {seen.release}, newer than {rollout.release}; to go back: hitless rollout rollback",
            )
    old = sorted({seen.release for seen in survey.seen.values() if seen.release} - {rollout.release})
    if len(old) > 1:
        return Gate(
            "releases",
            False,
            f"nodes run {' and '.join(old)} before {rollout.release}; bring them to one release first",
        )
    return Gate("releases", True, f"nodes run {', '.join(sorted(str(each) for each in found)) or 'nothing'}")


def known_migrations(rollout: Rollout, survey: Survey) -> Gate:
    """No release between the nodes' and the new one is passed over whose data migrations nobody would run."""
    if survey.known is None:
        return Gate("migrations", True, "there is no database")
    names = list(rollout.settings.releases)
    old = {seen.release for seen in survey.seen.values() if seen.release in names} - {rollout.release}
    first = min((names.index(str(each)) for each in old), default=names.index(rollout.release))
    way = names[first + 1 : names.index(rollout.release) + 1]
    known = survey.known.releases
    if known is None:
        if len(way) > 1:
            return Gate(
                "migrations",
                False,
                f"{way[0]} would be skipped, and the tool that migrates does not say whether it knows its migrations;"
                f" roll out {way[0]} first",
            )
        return Gate("migrations", True, "no release is skipped")
    unknown = [each for each in way if each not in known]
    if unknown:
        return Gate(
            "migrations",
            False,
            f"the migrations of release {unknown[0]} are not in the folder, which has {', '.join(known)}",
        )
    if survey.state is not None and survey.state.skipped:
        return Gate(
            "migrations",
            False,
            f"{survey.state.skipped[0]} never ran to its end, and its release is contracted",
        )
    return Gate("migrations", True, f"the migrations of {', '.join(way) or rollout.release} are known")


def undisturbed(rollout: Rollout, survey: Survey) -> Gate:
    """Nobody else changes the schema."""
    holder = survey.state.holder if survey.state is not None else None
    return Gate("schema", holder is None, holder or "nobody changes the schema")


def enough_up(rollout: Rollout, survey: Survey) -> Gate:
    """A batch can be taken out with `min_up` nodes left. Nodes that are down go first, and are up when the others' turns come;
    whether they are is measured again before each drain."""
    traffic = together(list(survey.servers.values()))
    up = [node.name for node in rollout.nodes.values() if _is_up(survey, node.name, traffic.get(node.server))]
    count = len(rollout.nodes)
    if (
        any(survey.seen[name].release != rollout.release for name in up)
        and count - rollout.batch < rollout.min_up
    ):
        return Gate(
            "min_up",
            False,
            f"of {count} nodes {rollout.batch} cannot be taken out while {rollout.min_up} stay up; lower batch or min_up",
        )
    told = f"{len(up)} of {count} nodes are up"
    if len(up) >= rollout.min_up:
        return Gate("min_up", True, f"{told}; at least {rollout.min_up} stay so")
    ill = next((f" ({name}: {answer.value})" for name, answer in survey.health.items() if not answer.ok), "")
    return Gate("min_up", True, f"only {told}{ill}; those that are down go first")


def _is_up(survey: Survey, name: str, traffic: Traffic | None) -> bool:
    seen, health = survey.seen.get(name), survey.health.get(name)
    if seen is None or seen.is_gone or health is None or not health.ok:
        return False
    return traffic is None or traffic.is_up


def all_new(rollout: Rollout, survey: Survey) -> Gate:
    """Every node of the inventory proves that it runs the new release, and serves."""
    found = "; ".join(_left_behind(rollout, survey))
    return Gate(
        "nodes",
        not found,
        found or f"{len(rollout.nodes)} nodes prove that they run release {rollout.release}",
    )


def _left_behind(rollout: Rollout, survey: Survey) -> Iterator[str]:
    traffic = together(list(survey.servers.values()))
    for node in rollout.nodes.values():
        seen = survey.seen.get(node.name)
        if seen is None:
            continue  # said by `answered`
        if seen.release != rollout.release:
            yield f"{node.name} {seen}, not {rollout.release}"
        elif not _is_up(survey, node.name, traffic.get(node.server)):
            health = survey.health.get(node.name)
            ill = health.value if health is not None and not health.ok else "is not up in every balancer"
            yield f"{node.name} runs {rollout.release} and does not serve: {ill}"


BEFORE: Final[tuple[Question, ...]] = (
    answered,
    one_inventory,
    known_releases,
    known_migrations,
    undisturbed,
    enough_up,
)
BEFORE_ROLLBACK: Final[tuple[Question, ...]] = (answered, one_inventory)
AFTER: Final[tuple[Question, ...]] = (answered, one_inventory, all_new)


def measured(questions: tuple[Question, ...], rollout: Rollout, survey: Survey) -> tuple[Gate, ...]:
    """All of them, so that everything that is missing is told at once."""
    return tuple(question(rollout, survey) for question in questions)


RESUMED: Final[tuple[Question, ...]] = (answered, one_inventory, known_releases, known_migrations)
"""Nodes may be down in the middle of their turn; whoever held the schema's lock may have been the runner that died."""


def before(direction: Direction) -> tuple[Question, ...]:
    return BEFORE if direction == "upgrade" else BEFORE_ROLLBACK


def passed(gates: tuple[Gate, ...], what: str, survey: Survey) -> None:
    """Raises Rejected with everything that does not hold; or what kept us from looking, if that is all."""
    closed = [gate for gate in gates if not gate.holds]
    if not closed:
        return
    if [gate.name for gate in closed] == ["answers"] and len(
        {type(each) for each in survey.errors.values()}
    ) == 1:
        error: RolloutError = next(iter(survey.errors.values()))
        raise type(error)(error.reason, f"{what}: {closed[0].message}")
    told = "; ".join(f"{gate.name}: {gate.message}" for gate in closed)
    raise Rejected("gate_closed", f"{what}: {told}")
