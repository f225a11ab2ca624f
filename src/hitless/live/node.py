"""An instance that should be: known by name and key, with what it reads from one snapshot. Nothing is built yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel

from hitless.live.spec import Spec


class NodeId(NamedTuple):
    name: str
    key: str | None

    def __str__(self) -> str:
        return self.name if self.key is None else f"{self.name}[{self.key}]"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    id: NodeId
    spec: Spec
    values: Mapping[str, Any]
    """What it reads from the settings, by parameter."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """The keys of other instances that it reads from the settings, by parameter."""

    @property
    def conflict(self) -> str | None:
        """What only one instance can have at a time; None if it has no such thing."""
        declaration = self.spec.declaration
        if declaration.exclusive is not None:
            return declaration.exclusive.format_map({**self.values, "key": self.id.key})
        return f"resource {self.id}" if declaration.quiesce is not None else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """All instances that one snapshot asks for, each after those that it needs."""

    settings: BaseModel
    nodes: Mapping[NodeId, Node]
    links: Mapping[NodeId, Mapping[str, Any]]
    """Of each, by parameter: an instance, instances by key, or None."""
