"""Where a value stands in nested settings: a path of names and list positions, written with dots for
people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """`("sources", 0, "name")` as `sources[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def has(container: object, part: str | int) -> bool:
    """Whether `container[part]` is there, in data as a file holds it."""
    if isinstance(container, Mapping):
        return part in container
    if isinstance(container, Sequence) and not isinstance(container, str):
        return isinstance(part, int) and 0 <= part < len(container)
    return False
