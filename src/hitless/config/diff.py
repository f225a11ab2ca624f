"""What differs between two settings, by dotted key, fit to be shown and kept."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from hitless.change import JSON, Difference
from hitless.config.keys import dotted
from hitless.config.plain import Leaf, leaves
from hitless.config.secrets import MASK, shown


def diff(old: BaseModel, new: BaseModel) -> tuple[Difference, ...]:
    """Every setting whose value is not the same, in the order of the model. Secrets are `***`, whatever
    they were.
    """
    return differences(leaves(old), leaves(new))


def differences(old: Iterable[Leaf], new: Iterable[Leaf]) -> tuple[Difference, ...]:
    """As `diff`, for settings whose leaves are there already."""
    before = {leaf.path: leaf for leaf in old}
    after = {leaf.path: leaf for leaf in new}
    paths = [*after, *(path for path in before if path not in after)]
    changed = [path for path in paths if _value(before.get(path)) != _value(after.get(path))]
    if not changed:
        return ()
    # An empty table is a value of its own only where neither side has anything in it.
    tables = {path[:length] for path in paths for length in range(len(path))}
    return tuple(
        _difference(dotted(path), before.get(path), after.get(path)) for path in changed if path not in tables
    )


def _difference(key: str, old: Leaf | None, new: Leaf | None) -> Difference:
    is_secret = any(leaf.is_secret for leaf in (old, new) if leaf is not None)
    left, right = (shown(_value(leaf), is_secret=is_secret) for leaf in (old, new))
    if left == right:
        left = right = MASK  # only what is hidden differs, as the password in a URL
    return Difference(key, left, right)


def _value(leaf: Leaf | None) -> JSON:
    return None if leaf is None else leaf.value
