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
ALL: Final = 16
"""How often these limits all values of a file together may reach: a small file must not fill the memory."""

Chain = tuple[tuple[str, str], ...]
"""The values that lead here, by section and name."""


class Budget:
    """What one value may grow to: a value that refers twice to one that refers twice, and so on, has no end for us."""

    def __init__(self, rest: Budget | None = None, *, times: int = 1) -> None:
        self._references = 0
        self._chars = 0
        self._times: Final = times
        self._rest: Final = rest
        """What is left for all values."""

    def take(self, text: str) -> str:
        """The text in the place of one reference.

        Raises:
            LookupError: it is too much.
        """
        self._references += 1
        self._chars += len(text)
        references, chars = self._times * REFERENCES_LIMIT, self._times * CHARS_LIMIT
        if self._references > references or self._chars > chars:
            whose = "its $ references" if self._rest is not None else "the $ references of all values"
            raise LookupError(
                f"{whose} grow to more than {references} replacements or {chars} characters;"
                " write the value out, or refer to fewer"
            )
        return text if self._rest is None else self._rest.take(text)


def check_depth(above: Chain) -> None:
    """Raises LookupError: it is a circle, or too deep."""
    if len(set(above)) < len(above):
        raise LookupError("its $ references go in a circle")
    if len(above) > DEPTH_LIMIT:
        raise LookupError(f"its $ references go more than {DEPTH_LIMIT} deep; write the value out")


class Interpolation:
    def __init__(
        self, entries: Mapping[tuple[str, str], Entry], settings: Mapping[tuple[str, ...], FieldInfo]
    ) -> None:
        self._entries: Final = entries
        self._settings: Final = settings
        self._all: Final = Budget(times=ALL)

    def value(self, text: str, section: str) -> str:
        r"""The text with its references replaced. `$$` and `\$` are dollar signs.

        Raises:
            LookupError: a reference leads nowhere, or in a circle, or they grow without measure.
        """
        return self._value(text, section, (), Budget(self._all))

    def _value(self, text: str, section: str, above: Chain, budget: Budget) -> str:
        if "$" not in text:
            return text
        check_depth(above)

        def found(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            return budget.take(self._lookup(match["bare"] or match["braced"], section, above, budget))

        return REFERENCE.sub(found, text.replace(r"\$", "$$"))

    def _lookup(self, name: str, section: str, above: Chain, budget: Budget) -> str:
        *named, key = name.split(".")
        places = [".".join(named)] if named else [section, DEFAULT_SECTION]
        for place in places:
            if (entry := self._entries.get((place, key))) is not None:
                return self._value(entry.texts[-1], place, (*above, (place, key)), budget)
        for place in places:
            info = self._settings.get((key,) if place == DEFAULT_SECTION else (place, key))
            default = info.get_default(call_default_factory=True) if info is not None else PydanticUndefined
            if default is not PydanticUndefined and default is not None:
                return str(default)
        raise LookupError(f"${name} stands for nothing; there is no such option")
