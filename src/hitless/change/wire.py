"""Plain values: what plans, outcomes, the journal and the control socket are written in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""Anything that `json.dumps` takes and `json.loads` gives back."""


def canonical(value: JSON) -> str:
    """One text per value: sorted keys, no spaces, so that equal values have equal text.

    Raises:
        ValueError: the value holds nan or an infinity, which JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: JSON) -> str:
    """SHA-256 of the canonical text, in hex: what "the same settings" means everywhere."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()
