"""Settings as plain JSON values without their secrets: for what is kept, shown or sent. Cannot be loaded again."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from hitless.change import JSON
from hitless.config.plain import leaves, plain
from hitless.config.secrets import shown


def masked(settings: BaseModel) -> dict[str, JSON]:
    """As `plain`, with `***` for each secret and for each password in a URL."""
    data = plain(settings)
    for leaf in leaves(settings):
        table: Any = data
        *above, last = leaf.path
        for part in above:
            table = table[part]
        table[last] = shown(leaf.value, is_secret=leaf.is_secret)
    return data
