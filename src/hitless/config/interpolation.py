"""`$name` in values: other values of the same section, of [DEFAULT], or of a named section; or the model's defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hitless.config.ini_lines import DEFAULT_SECTION, Entry

REFERENCE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<bare>[_a-zA-Z][._a-zA-Z0-9]*)|\{(?P<braced>[_a-zA-Z][-._a-zA-Z0-9]*)\})"
)
"""As in oslo.config; a dollar sign before anything else is a dollar sign."""
DEPTH_LIMIT: Final = 20


class Interpolation:
    def __init__(
        self, entries: Mapping[tuple[str, str], Entry], settings: Mapping[tuple[str, ...], FieldInfo]
    ) -> None:
        self._entries: Final = entries
        self._settings: Final = settings

    def value(self, text: str, section: str, depth: int = 0) -> str:
        r"""The text with its references replaced. `$$` and `\$` are dollar signs.

        Raises:
            LookupError: a reference leads nowhere, or in a circle.
        """
        if "$" not in text:
            return text
        if depth > DEPTH_LIMIT:
            raise LookupError("its $ references go in a circle")

        def found(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            return self._lookup(match["bare"] or match["braced"], section, depth)

        return REFERENCE.sub(found, text.replace(r"\$", "$$"))

    def _lookup(self, name: str, section: str, depth: int) -> str:
        *above, key = name.split(".")
        places = [".".join(above)] if above else [section, DEFAULT_SECTION]
        for place in places:
            if (entry := self._entries.get((place, key))) is not None:
                return self.value(entry.texts[-1], place, depth + 1)
        for place in places:
            info = self._settings.get((key,) if place == DEFAULT_SECTION else (place, key))
            default = info.get_default(call_default_factory=True) if info is not None else PydanticUndefined
            if default is not PydanticUndefined and default is not None:
                return str(default)
        raise LookupError(f"${name} stands for nothing; there is no such option")
