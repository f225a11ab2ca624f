"""Tells from what was published what was lost, what came twice, and whether each resource's messages came in order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BEGIN = '{"counter_name"'


@dataclass(frozen=True)
class Finding:
    lost: tuple[int, ...]
    doubled: int
    """Samples that had come before."""
    disordered: tuple[str, ...]
    """Resources one of whose messages came for the first time after a later one."""
    torn: int
    """Pieces of lines: of a process that was killed while it wrote."""

    def __str__(self) -> str:
        return (
            f"{len(self.lost)} lost {self.lost[:10]}, {self.doubled} doubled, {self.torn} torn,"
            f" out of order: {self.disordered[:5]}"
        )


def found_in(path: Path, sent: Iterable[int]) -> Finding:
    """The file is written by several processes, each batch by one write: its lines are in the order of time."""
    seen: set[int] = set()
    latest: dict[str, int] = {}
    disordered: dict[str, None] = {}
    doubled = torn = 0
    for resource, number in _samples(path):
        if resource is None:
            torn += 1
        elif number in seen:
            doubled += 1
        else:
            seen.add(number)
            if number < latest.get(resource, -1):
                disordered[resource] = None
            latest[resource] = number
    return Finding(tuple(sorted(set(sent) - seen)), doubled, tuple(disordered), torn)


def count_in(path: Path) -> int:
    """How many different numbers there are."""
    return len({number for resource, number in _samples(path) if resource is not None})


def _samples(path: Path) -> Iterable[tuple[str | None, int]]:
    text = path.read_text() if path.exists() else ""
    for line in text.splitlines():
        # Behind a torn line stands the next one without a line's end between them.
        for piece in line.split(BEGIN):
            if piece:
                try:
                    sample = json.loads(BEGIN + piece)
                    yield sample["resource_id"], int(sample["counter_volume"])
                except ValueError:
                    yield None, 0
