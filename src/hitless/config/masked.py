"""Settings as plain JSON values without their secrets: for what is kept, shown or sent. Cannot be loaded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hitless.change import JSON
from hitless.config.plain import Leaf
from hitless.config.secrets import shown


def masked(leaves: Sequence[Leaf], data: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """`data`, that the leaves are of, with `***` for each secret and for each password in a URL."""
    if not any(leaf.is_secret or _may_hide(leaf.value) for leaf in leaves):
        return data
    whole: dict[Any, Any] = {}
    for leaf in leaves:
        table = whole
        *above, last = leaf.path
        for part in above:
            table = table.setdefault(part, {})
        table[last] = shown(leaf.value, is_secret=leaf.is_secret)
    found: dict[str, JSON] = _listed(whole)
    return found


def _may_hide(value: JSON) -> bool:
    """Whether it may be a URL with a password; most values are none, and this is asked of every setting."""
    if type(value) is str:
        return "@" in value
    return isinstance(value, list | dict)


def _listed(table: Any) -> Any:
    """Lists where the keys are positions."""
    if not isinstance(table, dict) or not table:
        return table
    if isinstance(next(iter(table)), int):
        return [_listed(item) for item in table.values()]
    return {key: _listed(item) for key, item in table.items()}
