"""Settings as plain JSON values without their secrets: for what is kept, shown or sent. Cannot be loaded again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hitless.change import JSON
from hitless.config.plain import Leaf
from hitless.config.secrets import shown


def masked(leaves: Iterable[Leaf]) -> dict[str, JSON]:
    """The tables that the leaves came from, with `***` for each secret and for each password in a URL."""
    whole: dict[Any, Any] = {}
    for leaf in leaves:
        table = whole
        *above, last = leaf.path
        for part in above:
            table = table.setdefault(part, {})
        table[last] = shown(leaf.value, is_secret=leaf.is_secret)
    found: dict[str, JSON] = _listed(whole)
    return found


def _listed(table: Any) -> Any:
    """Lists where the keys are positions."""
    if not isinstance(table, dict) or not table:
        return table
    if isinstance(next(iter(table)), int):
        return [_listed(item) for item in table.values()]
    return {key: _listed(item) for key, item in table.items()}
