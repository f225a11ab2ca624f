"""A hash ring: which member a key belongs to. The same in every process, and little moves when a member comes or goes.

Python's own hash() of text differs between processes; with it, every agent would be alone on a ring of its own.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from hitless.agent.group.member import Member

POINTS: Final = 128
"""Of a member of weight 1: with three members, shares differ by about a tenth."""


class Ring:
    def __init__(self, members: Iterable[Member]) -> None:
        points = (
            sorted(
                (_place(f"{member.name}\0{number}"), member)
                for member in members
                for number in range(POINTS * member.weight)
            )
            if (members := tuple(members))
            else []
        )
        self._places: Final = [place for place, _ in points]
        self._owners: Final = [member for _, member in points]

    def owner(self, key: str) -> Member | None:
        """The member at the first point after the key's place; None if nobody is there."""
        if not self._places:
            return None
        return self._owners[bisect_right(self._places, _place(key)) % len(self._places)]


def _place(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:8])


@lru_cache(maxsize=64)
def ring_of(members: tuple[Member, ...]) -> Ring:
    return Ring(members)
