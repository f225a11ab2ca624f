"""A configuration file as data with line numbers: what every file format is read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hitless.config.keys import KeyPath

Data: TypeAlias = dict[str, Any]
"""Nested tables, lists and scalars, as the format's parser gives them. What is in them is checked by the model only."""


@dataclass(frozen=True, slots=True)
class Document:
    data: Data
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    """Line numbers, from 1, of every key and list item; lookups fall back to the nearest one around it."""

    def line(self, path: KeyPath) -> int | None:
        """The line on which this key stands, or the table that should hold it."""
        while path:
            if (found := self.lines.get(path)) is not None:
                return found
            path = path[:-1]
        return None
