"""One generation as its users see it: settings and resources that belong together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, overload

from pydantic import BaseModel

from hitless.live.errors import Replaced, UnknownResource
from hitless.live.instance import Instance
from hitless.live.node import NodeId, Wanted

S = TypeVar("S", bound=BaseModel)
T = TypeVar("T")


class Snapshot(Generic[S]):
    """A numbered generation. Valid while a lease on it is held.

    `instances` loses what was stopped for its successor, and everything when the generation is closed under its users;
    nothing else ever changes in it. `held`, `wake` and `watchers` are guarded by the lock of `Leases`.
    """

    __slots__ = (
        "_name_of",
        "began",
        "held",
        "instances",
        "lost",
        "number",
        "settings",
        "wake",
        "wanted",
        "watchers",
    )

    def __init__(
        self,
        number: int,
        settings: S,
        wanted: Wanted,
        instances: Mapping[NodeId, Instance],
        name_of: Callable[[Any], str],
    ) -> None:
        self.number: Final = number
        self.settings: Final = settings
        self.wanted: Final = wanted
        self.instances: Final[dict[tuple[str, str | None], Instance]] = {}
        self.instances.update(instances.items())
        self.lost: Final[set[tuple[str, str | None]]] = set()
        """What was stopped for its successor and could not be opened again."""
        self.began: Final = time.time()
        self.held: Final[set[Any]] = set()
        """The leases on it."""
        self.wake: Callable[[], None] | None = None
        """Called when the last lease is given back, or with every one while there are `watchers`."""
        self.watchers = 0
        self._name_of: Final = name_of

    @overload
    def get(self, resource: type[T], key: str | None = None) -> T: ...
    @overload
    def get(self, resource: str | Callable[..., object], key: str | None = None) -> Any: ...
    def get(self, resource: Any, key: str | None = None) -> Any:
        """The object of a resource, by type, name, or the function that makes it.

        Raises:
            UnknownResource: there is none in this generation.
            Replaced: there was one, and it was stopped for its successor.
        """
        node_id = NodeId(self._name_of(resource), key)
        try:
            return self.instances[node_id].object
        except KeyError:
            raise self.missing(node_id) from None

    def missing(self, node_id: NodeId) -> UnknownResource | Replaced:
        """Why there is no such instance."""
        if node_id in self.lost:
            return Replaced(
                f"{node_id} was stopped for a change that was taken back, and could not be opened again;"
                " it is missing until a reload builds it (hitless history tells why)"
            )
        if node_id in self.wanted.nodes:
            return Replaced(
                f"{node_id} of generation {self.number} was stopped while this action went on;"
                f" name it when the action begins, or let the action end within the drain deadline"
            )
        keys = [
            str(each.key) for each in self.wanted.nodes if each.name == node_id.name and each.key is not None
        ]
        if node_id.key is None:
            return UnknownResource(
                f"{node_id.name} has one instance per key; say key=, one of: {', '.join(keys) or 'none'}"
            )
        hint = f"there are: {', '.join(keys)}" if keys else "it has no keys"
        return UnknownResource(f"there is no {node_id} in generation {self.number}; {hint}")

    def __repr__(self) -> str:
        return f"<generation {self.number}: {len(self.instances)} resources, {len(self.held)} leases>"
