"""Which names a source takes: globs and `!` exclusions, exactly as Ceilometer reads them.

Deny, then allow: a name that an exclusion matches is out; else one that a pattern matches is in; else it is in only
where there is nothing but exclusions.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

NEGATION: Final = "!"
WILDCARD: Final = "*"


def complaint_of(patterns: Sequence[str]) -> str | None:
    """Why these are no filter, or None if they are one. The rules are those of Ceilometer's sources."""
    if not patterns:
        return "expected at least one name or pattern"
    if any(not each or each == NEGATION for each in patterns):
        return "a name may not be empty"
    # A pattern that only begins with `*`, as `*.bytes`, counts neither as a name nor as the wildcard.
    names = [each for each in patterns if not each.startswith((NEGATION, WILDCARD))]
    exclusions = [each for each in patterns if each.startswith(NEGATION)]
    if names and exclusions:
        return f"names ({names[0]}) and exclusions ({exclusions[0]}) do not go together; keep one of the two kinds"
    if names and WILDCARD in patterns:
        return f'the wildcard "*" takes {names[0]} too; keep one of the two'
    return None


class Filter:
    """Immutable. Matching is case-sensitive."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises ValueError: the patterns are no filter (see `complaint_of`)."""
        if (complaint := complaint_of(patterns)) is not None:
            raise ValueError(complaint)
        self.patterns: Final = tuple(patterns)

    def takes(self, name: str) -> bool:
        if self._denied is not None and self._denied.match(name):
            return False
        return self._allowed is None or self._allowed.match(name) is not None

    @cached_property
    def _denied(self) -> re.Pattern[str] | None:
        return _any_of(each[1:] for each in self.patterns if each.startswith(NEGATION))

    @cached_property
    def _allowed(self) -> re.Pattern[str] | None:
        return _any_of(each for each in self.patterns if not each.startswith(NEGATION))


def _any_of(globs: Iterable[str]) -> re.Pattern[str] | None:
    """One expression for all of them; None if there are none."""
    alternatives = [fnmatch.translate(each) for each in globs]
    return re.compile("|".join(alternatives)) if alternatives else None
