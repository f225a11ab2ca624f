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
REFERENCES_LIMIT: Final = 1000
CHARS_LIMIT: Final = 1 << 20


class Budget:
    """What one value may grow to: a value that refers twice to one that refers twice, and so on, has no end for us."""

    def __init__(self) -> None:
        self._references = 0
        self._chars = 0

    def take(self, text: str) -> str:
        """The text in the place of one reference.

        Raises:
            LookupError: it is too much.
        """
        self._references += 1
        self._chars += len(text)
        if self._references > REFERENCES_LIMIT or self._chars > CHARS_LIMIT:
            raise LookupError(
                f"its $ references grow to more than {REFERENCES_LIMIT} replacements or {CHARS_LIMIT} characters;"
                " write the value out, or refer to fewer"
            )
        return text


class Interpolation:
    def __init__(
        self, entries: Mapping[tuple[str, str], Entry], settings: Mapping[tuple[str, ...], FieldInfo]
    ) -> None:
        self._entries: Final = entries
        self._settings: Final = settings

    def value(self, text: str, section: str) -> str:
        r"""The text with its references replaced. `$$` and `\$` are dollar signs.

        Raises:
            LookupError: a reference leads nowhere, or in a circle, or they grow without measure.
        """
        return self._value(text, section, 0, Budget())

    def _value(self, text: str, section: str, depth: int, budget: Budget) -> str:
        if "$" not in text:
            return text
        if depth > DEPTH_LIMIT:
            raise LookupError("its $ references go in a circle")

        def found(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            return budget.take(self._lookup(match["bare"] or match["braced"], section, depth, budget))

        return REFERENCE.sub(found, text.replace(r"\$", "$$"))

    def _lookup(self, name: str, section: str, depth: int, budget: Budget) -> str:
        *above, key = name.split(".")
        places = [".".join(above)] if above else [section, DEFAULT_SECTION]
        for place in places:
            if (entry := self._entries.get((place, key))) is not None:
                return self._value(entry.texts[-1], place, depth + 1, budget)
        for place in places:
            info = self._settings.get((key,) if place == DEFAULT_SECTION else (place, key))
            default = info.get_default(call_default_factory=True) if info is not None else PydanticUndefined
            if default is not PydanticUndefined and default is not None:
                return str(default)
        raise LookupError(f"${name} stands for nothing; there is no such option")
