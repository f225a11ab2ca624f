"""What is wrong with a configuration, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where it stands, which key it is about, and what was expected."""

    where: str
    """`hitless.toml:12`, `HITLESS_WORKERS`, `--workers`."""
    key: str
    """Dotted, as in `drain.timeout`; empty if it is about the whole source."""
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


class ConfigError(Exception):
    """A configuration that is not taken. Its text has one line per problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Final = tuple(problems)
        super().__init__("\n".join(str(each) for each in self.problems))


class SourceUnreachable(ConfigError):
    """A source cannot be asked now. Nothing is known to be wrong with the configuration."""
