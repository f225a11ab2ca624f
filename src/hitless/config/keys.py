"""Where a value stands in nested settings: a path of names and list positions, written with dots for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

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


def at(data: Any, path: KeyPath) -> Any:
    """The value at a path that is there."""
    for part in path:
        data = data[part]
    return data


def scalars(data: Any, above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value that is neither a table nor a list, with its path."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from scalars(value, (*above, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from scalars(value, (*above, index))
    else:
        yield above, data
