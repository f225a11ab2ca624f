"""The nodes of a service: those of `rollout.yaml`, and those that its inventories list. They must be the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hitless.config import ConfigError, Problem, load
from hitless.config.yaml import YamlFile
from hitless.rollout.executors import Target
from hitless.rollout.settings import Name, NodeSettings, RolloutSettings, Section


class InventoryFile(Section):
    """A YAML file with the table `nodes`, as in `rollout.yaml`."""

    nodes: Mapping[Name, NodeSettings]


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the service."""

    name: str
    server: str
    """What the balancers call it."""
    target: Target
    variables: Mapping[str, str]

    @classmethod
    def of(cls, name: str, settings: NodeSettings) -> Node:
        address = settings.address or name
        target = Target(name, address, settings.user, settings.options)
        return cls(name, settings.server or name, target, settings.variables)


def read_inventory(
    settings: RolloutSettings, folder: Path, *, allow_writable: bool = False
) -> dict[str, NodeSettings]:
    """The nodes by name, in the order in which they go.

    Raises:
        ConfigError: nothing lists a node, or what lists nodes does not list the same ones.
    """
    found: dict[str, Mapping[str, NodeSettings]] = {"nodes": settings.nodes} if settings.nodes else {}
    for name in settings.inventories:
        path = folder / name
        found[str(path)] = load(InventoryFile, YamlFile(path, allow_writable)).settings.nodes
    if not found or not any(found.values()):
        raise ConfigError(
            [Problem("", "nodes", "lists nothing, and there are no inventories; name the nodes")]
        )
    _check_the_same(found)
    return _ordered(next(iter(found.values())), settings.order)


def _check_the_same(found: Mapping[str, Mapping[str, NodeSettings]]) -> None:
    (first, nodes), *others = found.items()
    problems = []
    for other, its in others:
        for name in sorted(nodes.keys() ^ its.keys()):
            here, there = (first, other) if name in nodes else (other, first)
            problems.append(
                Problem(there, "nodes", f"does not list {name}, which {here} does; make them the same")
            )
        for name in sorted(nodes.keys() & its.keys()):
            if nodes[name] != its[name]:
                problems.append(
                    Problem(other, f"nodes.{name}", f"is not what {first} says of it; make them the same")
                )
    if problems:
        raise ConfigError(problems)


def _ordered(nodes: Mapping[str, NodeSettings], order: Sequence[str]) -> dict[str, NodeSettings]:
    unknown = [name for name in order if name not in nodes]
    if unknown:
        raise ConfigError(
            [Problem("", "order", f"there is no node {unknown[0]}; there are: {', '.join(nodes)}")]
        )
    return {name: nodes[name] for name in dict.fromkeys((*order, *nodes))}
