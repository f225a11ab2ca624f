"""The checked whole of all declarations, and its instances for one snapshot of settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel

from hitless.change import Refused
from hitless.live.declaration import Declaration
from hitless.live.errors import DeclarationError, UnknownResource
from hitless.live.node import Node, NodeId, Wanted
from hitless.live.resolve import Providers, Resolver, Unresolved
from hitless.live.spec import Link, Spec, Which

NO_LINKS: Final[Mapping[str, Any]] = MappingProxyType({})


class Graph:
    """Raises DeclarationError with every problem: unknown settings, missing, ambiguous or circular resources."""

    def __init__(self, model: type[BaseModel], declarations: Iterable[Declaration]) -> None:
        named = _by_name(declarations)
        resolver = Resolver(model, named)
        specs = {name: resolver.spec(each) for name, each in named.items()}
        if resolver.problems:
            raise DeclarationError(resolver.problems)
        self.specs: Final[Mapping[str, Spec]] = _ordered(specs)
        self._providers: Final = Providers([spec.declaration for spec in specs.values()])
        self._names: Final[dict[Any, str]] = {}

    def name_of(self, wanted: Any) -> str:
        """The name of the resource of a type, or of the function that makes it, or the name itself.

        Raises:
            UnknownResource: there is none, or more than one.
        """
        try:
            return self._names[wanted]
        except (KeyError, TypeError):
            name = self._names[wanted] = self._find(wanted)
            return name

    def _find(self, wanted: Any) -> str:
        if isinstance(wanted, str):
            if wanted in self.specs:
                return wanted
        else:
            made = [spec.name for spec in self.specs.values() if spec.declaration.maker is wanted]
            if len(made) == 1:
                return made[0]
            try:
                if (found := self._providers.find(wanted)) is not None:
                    return found.name
            except Unresolved as error:
                raise UnknownResource(str(error)) from None
        known = ", ".join(self.specs) or "none"
        raise UnknownResource(f"no resource is a {getattr(wanted, '__name__', wanted)}; there are: {known}")

    def expand(self, settings: BaseModel) -> Wanted:
        """The instances that these settings ask for, each after those that it needs.

        Raises:
            Refused: a key that a setting names does not exist, or instances need each other in a circle.
        """
        nodes: dict[NodeId, Node] = {}
        tables: dict[str, tuple[str, ...]] = {}
        for spec in self.specs.values():
            table = spec.table(settings) if spec.table is not None else None
            tables[spec.name] = tuple(str(key) for key in table or ())
            for key, each in table.items() if table is not None else ():
                node = _node(spec, settings, str(key), each)
                nodes[node.id] = node
            if spec.table is None:
                node = _node(spec, settings, None, None)
                nodes[node.id] = node
        links = {node_id: _links(node, tables, nodes) for node_id, node in nodes.items()}
        return Wanted(settings, _in_order(nodes, links), links)


def _by_name(declarations: Iterable[Declaration]) -> dict[str, Declaration]:
    named: dict[str, Declaration] = {}
    problems = []
    for each in declarations:
        if each.name in named:
            problems.append(
                f"{each.place}: {each.name} is declared at {named[each.name].place} already; give it a name="
            )
        named[each.name] = each
        try:
            each.parameters()
            each.provides()
        except NameError as error:
            problems.append(f"{each.place}: {each.name}: an annotation cannot be read: {error}")
    if problems:
        raise DeclarationError(problems)
    return named


def _ordered(specs: Mapping[str, Spec]) -> dict[str, Spec]:
    sorter = TopologicalSorter({name: [link.to for link in spec.fixed()] for name, spec in specs.items()})
    try:
        return {name: specs[name] for name in sorter.static_order()}
    except CycleError as error:
        circle = [specs[name].declaration for name in reversed(error.args[1])]
        shown = " needs ".join(str(each) for each in circle)
        raise DeclarationError(
            [f"{circle[0].place}: {shown}: a circle; break it by a setting or a third"]
        ) from None


def _node(spec: Spec, settings: BaseModel, key: str | None, each: Any) -> Node:
    values = {value.parameter: value.read(each if value.of_each else settings) for value in spec.values}
    for parameter in spec.key_parameters:
        values[parameter] = key
    if not spec.links:
        return Node(NodeId(spec.name, key), spec, values)
    chosen: dict[str, Any] = {}
    for link in spec.links:
        if link.chosen is not None:
            chosen[link.parameter] = link.chosen.read(each if link.chosen.of_each else settings)
    return Node(NodeId(spec.name, key), spec, values, chosen)


def _links(
    node: Node, tables: Mapping[str, tuple[str, ...]], nodes: Mapping[NodeId, Node]
) -> Mapping[str, Any]:
    """Per parameter: the instance, the instances by key, or None."""
    if not node.spec.links:
        return NO_LINKS
    return {link.parameter: _target(node, link, tables, nodes) for link in node.spec.links}


def _target(
    node: Node, link: Link, tables: Mapping[str, tuple[str, ...]], nodes: Mapping[NodeId, Node]
) -> NodeId | dict[str, NodeId] | None:
    match link.which:
        case Which.ONE:
            return NodeId(link.to, None)
        case Which.SAME:
            return NodeId(link.to, node.id.key)
        case Which.ALL:
            return {key: NodeId(link.to, key) for key in tables[link.to]}
    key = link.key if link.which is Which.KEY else node.chosen[link.parameter]
    if key is None:
        return None
    target = NodeId(link.to, str(key))
    if target not in nodes:
        named = f"{link.chosen.path} of {node.id}" if link.chosen is not None else str(node.spec.declaration)
        known = ", ".join(tables[link.to]) or "none"
        raise Refused(
            "unknown_key", f"{named} names {key}, and there is no {target}; there are: {known}", invalid=True
        )
    return target


def _in_order(nodes: dict[NodeId, Node], links: Mapping[NodeId, Mapping[str, Any]]) -> dict[NodeId, Node]:
    if not any(node.chosen for node in nodes.values()):
        return nodes  # the order of the declarations is that of the instances
    sorter = TopologicalSorter({node_id: list(needs(links[node_id])) for node_id in nodes})
    try:
        return {node_id: nodes[node_id] for node_id in sorter.static_order()}
    except CycleError as error:
        shown = " needs ".join(str(node_id) for node_id in reversed(error.args[1]))
        raise Refused("circle", f"these settings make a circle: {shown}", invalid=True) from None


def needs(links: Mapping[str, Any]) -> Iterable[NodeId]:
    """Every instance that is linked to."""
    for target in links.values():
        if isinstance(target, NodeId):
            yield target
        elif target is not None:
            yield from target.values()
