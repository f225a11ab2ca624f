"""What a change would do to every resource, and why. Pure: made from the current generation and new settings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from hitless.change import Refused
from hitless.live.graph import needs
from hitless.live.instance import Instance, Phase
from hitless.live.node import Node, NodeId, Wanted

STEPS_SHOWN: Final = 200


class Move(StrEnum):
    BUILD = "build"
    REBUILD = "rebuild"
    UPDATE = "update"
    """In place."""
    KEEP = "keep"
    CLOSE = "close"


class Row(NamedTuple):
    id: NodeId
    move: Move
    why: str = ""

    @property
    def builds(self) -> bool:
        return self.move in (Move.BUILD, Move.REBUILD)

    def __str__(self) -> str:
        return f"{self.move} {self.id}: {self.why}" if self.why else f"{self.move} {self.id}"


@dataclass(frozen=True, slots=True)
class Blueprint:
    wanted: Wanted
    rows: Mapping[NodeId, Row]
    """Each after those that it needs; what is closed comes last."""
    stopped: Mapping[Instance, str] = field(default_factory=dict)
    """What must be stopped before its successor starts, with the reason; each before those that it needs."""
    late: frozenset[NodeId] = frozenset()
    """What is built only when those are stopped."""

    @property
    def changes_nothing(self) -> bool:
        return all(row.move is Move.KEEP for row in self.rows.values())

    def only(self, *moves: Move) -> Iterator[Row]:
        return (row for row in self.rows.values() if row.move in moves)

    def steps(self) -> tuple[str, ...]:
        """One phrase for each thing to do, and how many resources are kept."""
        lines = [str(row) for row in self.rows.values() if row.move is not Move.KEEP]
        lines += [f"stop {each.id} first: {why}" for each, why in self.stopped.items()]
        more = len(lines) - STEPS_SHOWN
        kept = sum(1 for _ in self.only(Move.KEEP))
        return (
            *lines[:STEPS_SHOWN],
            *([f"and {more} more"] if more > 0 else []),
            *([f"keep {kept} resources as they are"] if kept else []),
        )


def blueprint(
    wanted: Wanted, current: Mapping[tuple[str, str | None], Instance], draining: Iterable[Instance] = ()
) -> Blueprint:
    """What putting `wanted` in the place of `current` means.

    Raises:
        Refused: two of the wanted instances exclude each other.
    """
    rows: dict[NodeId, Row] = {}
    for node_id, node in wanted.nodes.items():
        rows[node_id] = _row(node, current.get(node_id), wanted.links[node_id], rows)
    gone = [each for node_id, each in current.items() if node_id not in wanted.nodes]
    for each in _dependants_first(gone):
        rows[each.id] = Row(each.id, Move.CLOSE, _why_gone(each.node))
    stopped = _stopped(wanted, rows, current, draining)
    return Blueprint(wanted, rows, stopped, _late(wanted, rows, stopped))


def _row(node: Node, old: Instance | None, links: Mapping[str, Any], rows: Mapping[NodeId, Row]) -> Row:
    if old is None:
        return Row(node.id, Move.BUILD, "it is new")
    if old.made.failure is not None:
        return Row(node.id, Move.REBUILD, "it has failed")
    if old.suspect:
        return Row(node.id, Move.REBUILD, "its last update failed and could not be taken back")
    if links and (why := _link_changed(old, links, rows)):
        return Row(node.id, Move.REBUILD, why)
    before, after = old.node.values, node.values
    if before == after:
        return Row(node.id, Move.KEEP)
    changed = [parameter for parameter, value in after.items() if before[parameter] != value]
    why = f"{', '.join(_paths(node, changed))} changed"
    in_place = node.spec.declaration.updatable.issuperset(changed)
    return Row(node.id, Move.UPDATE if in_place else Move.REBUILD, why)


def _link_changed(old: Instance, links: Mapping[str, Any], rows: Mapping[NodeId, Row]) -> str | None:
    for each in needs(links):
        if rows[each].builds:
            verb = "is new" if rows[each].move is Move.BUILD else "is rebuilt"
            return f"it needs {each}, which {verb}"
    before = {parameter: _ids(target) for parameter, target in old.links.items()}
    changed = [parameter for parameter, target in links.items() if before[parameter] != target]
    return f"its {', '.join(changed)} is another one" if changed else None


def _ids(target: Any) -> Any:
    if isinstance(target, Instance):
        return target.id
    return None if target is None else {key: each.id for key, each in target.items()}


def _paths(node: Node, changed: Collection[str]) -> list[str]:
    declaration = node.spec.declaration
    paths = []
    for value in node.spec.values:
        if value.parameter in changed:
            here = f"{declaration.per}.{node.id.key}"
            paths.append(value.path.replace("each", here, 1) if value.of_each else value.path or "something")
    return paths


def _why_gone(node: Node) -> str:
    per = node.spec.declaration.per
    return f"{node.id.key} is no longer in {per}" if per else "nobody declares it"


def _stopped(
    wanted: Wanted,
    rows: Mapping[NodeId, Row],
    current: Mapping[tuple[str, str | None], Instance],
    draining: Iterable[Instance],
) -> dict[Instance, str]:
    """Instances that have what a new one needs for itself, and all that were built with them."""
    owners: dict[str, NodeId] = {}
    for node_id, node in wanted.nodes.items():
        if node.spec.declaration.quiesce is None or (conflict := node.conflict) is None:
            continue
        if conflict in owners:
            raise Refused(
                "exclusive_twice",
                f"{owners[conflict]} and {node_id} both need {conflict} alone",
                invalid=True,
            )
        owners[conflict] = node_id
    starting = {conflict: node_id for conflict, node_id in owners.items() if rows[node_id].builds}
    if not starting:
        return {}
    leaving = [
        each for node_id, each in current.items() if rows[NodeId(*node_id)].move in (Move.REBUILD, Move.CLOSE)
    ]
    found: dict[Instance, str] = {}
    for each in (*leaving, *draining):
        if each.phase is not Phase.CLOSED and (conflict := each.node.conflict) in starting:
            _stop(each, f"{starting[conflict]} needs {conflict}", found)
    return {each: found[each] for each in _dependants_first(found)}


def _stop(instance: Instance, why: str, found: dict[Instance, str]) -> None:
    if instance not in found:
        found[instance] = why
        for each in instance.dependants:
            _stop(each, f"it needs {instance.id}", found)


def _late(wanted: Wanted, rows: Mapping[NodeId, Row], stopped: Mapping[Instance, str]) -> frozenset[NodeId]:
    if not stopped:
        return frozenset()
    held = {each.node.conflict for each in stopped} - {None}
    late: set[NodeId] = set()
    for node_id, node in wanted.nodes.items():
        if not rows[node_id].builds:
            continue
        if (held and node.conflict in held) or not late.isdisjoint(needs(wanted.links[node_id])):
            late.add(node_id)
    return frozenset(late)


def _dependants_first(instances: Collection[Instance]) -> list[Instance]:
    """The instances, each before those that it was built with."""
    ordered: dict[Instance, None] = {}

    def visit(each: Instance) -> None:
        if each not in ordered:
            for dependant in each.dependants:
                if dependant in instances:
                    visit(dependant)
            ordered[each] = None

    for each in instances:
        visit(each)
    return list(ordered)
