"""Every setting, its value, and where it came from."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel

from hitless.change import canonical
from hitless.config.keys import dotted
from hitless.config.load import Loaded
from hitless.config.plain import leaves
from hitless.config.secrets import shown
from hitless.config.sources import DEFAULT


class Row(NamedTuple):
    key: str
    value: str
    """As JSON; `"***"` for a secret."""
    origin: str
    """`default`, `hitless.toml:12`, `HITLESS_WORKERS`, `--workers`."""


def explain(loaded: Loaded[BaseModel]) -> list[Row]:
    """One row per setting, in the order of the model."""
    rows = []
    for leaf in leaves(loaded.settings):
        key = dotted(leaf.path)
        value = canonical(shown(leaf.value, is_secret=leaf.is_secret))
        rows.append(Row(key, value, str(loaded.origins.get(key, DEFAULT))))
    return rows
