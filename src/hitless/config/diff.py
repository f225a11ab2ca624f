"""What differs between two settings, by dotted key, fit to be shown and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from pydantic import BaseModel

from hitless.change import JSON, Difference
from hitless.config.keys import dotted
from hitless.config.plain import Leaf, read
from hitless.config.secrets import MASK, shown

Pair: TypeAlias = "tuple[Leaf | None, Leaf | None]"
NONE: Final = Leaf((), None, False)


def diff(old: BaseModel, new: BaseModel) -> tuple[Difference, ...]:
    """Every setting whose value is not the same, in the order of the model. Secrets are `***`, whatever
    they were.
    """
    return differences(read(old)[1], read(new)[1])


def differences(old: Sequence[Leaf], new: Sequence[Leaf]) -> tuple[Difference, ...]:
    """As `diff`, for settings whose leaves are there already."""
    found = changed(old, new)
    if all(left is not None and right is not None for left, right in found):
        tables = set()
    else:
        # An empty table is a value of its own only where neither side has anything in it.
        tables = {
            leaf.path[:length] for side in (old, new) for leaf in side for length in range(len(leaf.path))
        }
    return tuple(
        _difference(left, right) for left, right in found if (left or right or NONE).path not in tables
    )


def changed(old: Sequence[Leaf], new: Sequence[Leaf]) -> list[Pair]:
    """What is not as it was: the old and the new, one of which may not be there."""
    if len(old) == len(new) and all(left.path == right.path for left, right in zip(old, new, strict=True)):
        return [pair for pair in zip(old, new, strict=True) if pair[0].value != pair[1].value]
    before, after = {leaf.path: leaf for leaf in old}, {leaf.path: leaf for leaf in new}
    paths = [*after, *(path for path in before if path not in after)]
    pairs = ((before.get(path), after.get(path)) for path in paths)
    return [(left, right) for left, right in pairs if _value(left) != _value(right)]


def _difference(old: Leaf | None, new: Leaf | None) -> Difference:
    key = dotted((old or new or NONE).path)
    is_secret = any(leaf.is_secret for leaf in (old, new) if leaf is not None)
    left, right = (shown(_value(leaf), is_secret=is_secret) for leaf in (old, new))
    if left == right:
        left = right = MASK  # only what is hidden differs, as the password in a URL
    return Difference(key, left, right)


def _value(leaf: Leaf | None) -> JSON:
    return None if leaf is None else leaf.value
