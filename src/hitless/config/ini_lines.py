"""The lines of an INI file as oslo.config reads them, with the line of every value.

From `oslo_config.iniparser`: a line that begins with white space goes on with the value before it, until an empty line; `#` and
`;` begin a comment at the start of a line only; key and value are parted by the first `=` or `:`; quotes around a whole value
are taken off; a key that stands several times has several values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hitless.config.problems import ConfigError, Problem

DEFAULT_SECTION: Final = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Entry:
    """All values of one key."""

    texts: tuple[str, ...]
    where: str
    """Of the last one."""
    section: str = DEFAULT_SECTION
    key: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    entries: Mapping[tuple[str, str], Entry]
    sections: Mapping[str, str]
    """Where each section begins."""


def read_lines(text: str, name: str) -> Lines:
    """The values by section and key.

    Raises:
        ConfigError: with every line that is none of a section, a comment, or a value.
    """
    reading = _Reading(name)
    for number, line in enumerate(text.splitlines(), 1):
        reading.line(number, line.rstrip())
    reading.end_value()
    if reading.problems:
        raise ConfigError(reading.problems)
    return Lines(reading.entries, reading.sections)


@dataclass(slots=True)
class _Reading:
    name: str
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _section: str | None = None
    _key: str = ""
    _where: str = ""
    _value: list[str] = field(default_factory=list)

    def line(self, number: int, line: str) -> None:
        where = f"{self.name}:{number}"
        if not line:
            self.end_value()
        elif line[0] in " \t":
            if self._key:
                self._value.append(line.lstrip())
            else:
                self._refuse(where, "an indented line goes on with a value, and there is none before it")
        else:
            self.end_value()
            if line[0] == "[":
                self._begin_section(where, line)
            elif line[0] not in "#;":
                self._begin_value(where, line)

    def end_value(self) -> None:
        key, self._key = self._key, ""
        if key and self._section is not None:
            before = self.entries.get((self._section, key))
            texts = (*(before.texts if before is not None else ()), "\n".join(self._value))
            self.entries[self._section, key] = Entry(texts, self._where, self._section, key)

    def _begin_section(self, where: str, line: str) -> None:
        if not line.endswith("]") or len(line) <= 2:
            self._refuse(where, "a section is written [name]")
            return
        self._section = line[1:-1]
        self.sections.setdefault(self._section, where)

    def _begin_value(self, where: str, line: str) -> None:
        at = min((place for place in (line.find("="), line.find(":")) if place >= 0), default=-1)
        key = line[:at].strip() if at >= 0 else ""
        if not key:
            self._refuse(where, "expected key = value")
            return
        if self._section is None:
            self._refuse(where, "stands before the first [section]")
            return
        value = line[at + 1 :].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        self._key, self._where, self._value = key, where, [value]

    def _refuse(self, where: str, message: str) -> None:
        self.problems.append(Problem(where, "", message))
