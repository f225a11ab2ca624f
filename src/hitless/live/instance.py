"""One built resource: everything that decides which phase it may go to is in this file.

    WARMING ──► ACTIVE ──► DRAINING ──► CLOSED
       │           ▲           │          ▲
       │           └─ resumed ─┘          │
       └── thrown away ───────────────────┘

CLOSED is entered before the close is begun, and nothing leads out of it: so nothing is closed twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from hitless.change import IllegalMove
from hitless.live.making import Made
from hitless.live.node import Node, NodeId


class Phase(StrEnum):
    WARMING = "warming"
    """Built, or being built; nobody has it yet."""
    ACTIVE = "active"
    DRAINING = "draining"
    """Not in the generation that serves, or about to be stopped: whoever has it may finish."""
    CLOSED = "closed"


MOVES: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.WARMING: frozenset({Phase.ACTIVE, Phase.CLOSED}),
    Phase.ACTIVE: frozenset({Phase.DRAINING}),
    # Back to ACTIVE when its users did not finish in time, and the change was given up.
    Phase.DRAINING: frozenset({Phase.ACTIVE, Phase.CLOSED}),
    Phase.CLOSED: frozenset(),
}


class Instance:
    """A resource's object with what it was built from. Owned by the runtime's loop; leases only read `object`."""

    __slots__ = (
        "_phase",
        "closed",
        "dependants",
        "first",
        "last",
        "links",
        "made",
        "node",
        "object",
        "over",
        "suspect",
    )

    def __init__(self, node: Node, links: Mapping[str, Any], made: Made, *, first: int) -> None:
        self.node = node
        """Replaced by an update in place: what the object reflects now."""
        self.links: Final = links
        """The instances that it was given, by parameter: an Instance, a mapping of them, or None."""
        self.made: Final = made
        self.object: Final = made.object
        self.first: Final = first
        """The first generation that has it."""
        self.last: int | None = None
        """The last generation that has it; None while the current one does."""
        self.suspect = False
        """Whether a failed update may have left it half-way: the next change rebuilds it."""
        self.dependants: Final[set[Instance]] = set()
        """What was built with it and is not closed."""
        self.closed: Final = asyncio.Event()
        """Set when its close has ended, or was given up."""
        self.over: Final = asyncio.Event()
        """Set when its close has really ended."""
        self._phase = Phase.WARMING
        for each in given(links):
            each.dependants.add(self)

    @property
    def id(self) -> NodeId:
        return self.node.id

    @property
    def phase(self) -> Phase:
        return self._phase

    def move(self, to: Phase) -> None:
        """Go to the phase `to`.

        Raises:
            IllegalMove: the table has no such move.
        """
        if to not in MOVES[self._phase]:
            raise IllegalMove(f"{self.id} is {self._phase} and cannot become {to}")
        self._phase = to

    def leave(self, last: int) -> None:
        """No later generation than `last` has it: whoever uses it may finish."""
        self.last = last
        self.move(Phase.DRAINING)

    def __repr__(self) -> str:
        return f"<{self.id} {self._phase}>"


def given(links: Mapping[str, Any]) -> list[Instance]:
    """All instances among the links."""
    found: list[Instance] = []
    for target in links.values():
        if isinstance(target, Instance):
            found.append(target)
        elif target is not None:
            found += target.values()
    return found


def objects(links: Mapping[str, Any]) -> dict[str, Any]:
    """The links as the maker gets them."""
    return {
        parameter: target.object
        if isinstance(target, Instance)
        else None
        if target is None
        else {key: each.object for key, each in target.items()}
        for parameter, target in links.items()
    }
