"""Tables laid over each other: later ones win, table by table and key by key."""

from __future__ import annotations

from collections.abc import Iterable

from hitless.config.document import Data


def laid_over(tables: Iterable[Data]) -> Data:
    """All of them as one; none of them is changed."""
    merged: Data = {}
    for table in tables:
        merged = _over(merged, table)
    return merged


def _over(below: Data, above: Data) -> Data:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
