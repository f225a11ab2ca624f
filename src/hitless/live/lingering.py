"""Closes that hang. What such a resource had for itself alone is not free, and must not be opened a second time."""

from __future__ import annotations

import time
from typing import Final

from hitless.change import Refused
from hitless.live.instance import Instance
from hitless.live.node import Node


class Lingering:
    """The exclusive instances whose close was given up and has not ended, by what they have alone."""

    def __init__(self) -> None:
        self._held: Final[dict[str, tuple[Instance, float]]] = {}

    def note(self, instance: Instance) -> None:
        """Its close was given up."""
        conflict = instance.node.conflict
        if conflict is not None and not instance.over.is_set():
            self._held[conflict] = (instance, time.monotonic())

    def check(self, node: Node) -> None:
        """Raises Refused: what this one needs alone is not free."""
        conflict = node.conflict
        if conflict is None or conflict not in self._held:
            return
        holder, since = self._held[conflict]
        if holder.over.is_set():
            del self._held[conflict]
            return
        raise Refused(
            "still_open",
            f"{node.id} needs {conflict} alone, and the close of {holder.id}, which had it, has hung for"
            f" {time.monotonic() - since:.0f} s since it was given up; reload when it has ended"
            f" ({holder.node.spec.declaration.place})",
        )
