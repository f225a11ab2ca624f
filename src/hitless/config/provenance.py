"""Which source a value came from, found again from the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hitless.config.keys import KeyPath, has
from hitless.config.sources import DEFAULT, Layer, Origin


@dataclass(frozen=True, slots=True)
class Provenance:
    layers: Sequence[Layer]
    """Lowest precedence first."""

    def origin(self, path: KeyPath) -> Origin:
        """Where the value at `path` was set: in the last layer that has it."""
        for layer in reversed(self.layers):
            if _reaches(layer, path):
                return layer.origin(path)
        return DEFAULT

    def where(self, path: KeyPath) -> str:
        """Where to look when something is wrong with `path`; for a key that nobody set, where it ought to be."""
        while path:
            origin = self.origin(path)
            if origin is not DEFAULT:
                return origin.where
            path = path[:-1]
        return next((layer.name for layer in self.layers if layer.files), "")


def _reaches(layer: Layer, path: KeyPath) -> bool:
    """Whether the layer decides the value at `path`: it has the key, or something else where its table should be."""
    value: Any = layer.data
    for part in path:
        if not has(value, part):
            return not isinstance(value, dict)
        value = value[part]
    return True
