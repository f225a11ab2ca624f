"""TOML into a Document. tomllib gives values but no line numbers; those are found by a scan of our own.

The scan runs only over text that tomllib has accepted, so it may be lenient: it has to find keys, not errors.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from typing import Final

from hitless.config.document import Document
from hitless.config.keys import KeyPath
from hitless.config.problems import ConfigError, Problem

BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
BLANK: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
SPACE: Final = re.compile(r"[ \t]*")
SCALAR: Final = re.compile(r"[^,\]}\n#]+")
POSITION: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def parse_toml(text: str, name: str) -> Document:
    """The data and the line of every key.

    Raises:
        ConfigError: it is no TOML; the problem says on which line.
    """
    try:
        return Document(tomllib.loads(text), _Scan(text.replace("\r\n", "\n")).lines())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(str(error), text, name)]) from None
    except ValueError as error:  # a number of more digits than Python is willing to read
        raise ConfigError([Problem(name, "", f"is not TOML: {error}")]) from None
    except RecursionError:
        raise ConfigError([Problem(name, "", "is nested too deeply")]) from None


def _syntax_problem(message: str, text: str, name: str) -> Problem:
    match = POSITION.search(message)
    if match is None:
        return Problem(name, "", f"is not TOML: {message}")
    line = int(match[1]) if match[1] else max(1, len(text.splitlines()))
    return Problem(f"{name}:{line}", "", f"is not TOML: {_lowered(message[: match.start()])}")


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]


class _Scan:
    """One pass over a TOML text, noting the line of every key, table and array item."""

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._at = 0
        self._newlines: Final = [match.start() for match in re.finditer("\n", text)]
        self._lines: Final[dict[KeyPath, int]] = {}
        self._array_lengths: Final[dict[KeyPath, int]] = {}

    def lines(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip(BLANK) < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._array_header()
            elif self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> KeyPath:
        self._at += 1
        table = self._enter(self._key())
        self._at += 1
        return table

    def _array_header(self) -> KeyPath:
        """`[[a.b]]` begins the next item of the array a.b."""
        self._at += 2
        *parents, last = self._key()
        array = (*self._enter(parents), last)
        item = self._array_lengths.get(array, 0)
        self._array_lengths[array] = item + 1
        self._mark(array)
        self._mark((*array, item))
        self._at += 2
        return (*array, item)

    def _enter(self, keys: list[str]) -> KeyPath:
        """The path that a header's keys lead to: through an array of tables, to its last item."""
        path: KeyPath = ()
        for key in keys:
            path = (*path, key)
            self._mark(path)
            if length := self._array_lengths.get(path):
                path = (*path, length - 1)
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for key in self._key():
            path = (*path, key)
            self._mark(path)
        self._at += 1  # the equals sign
        self._skip(SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        """A dotted key; leaves the position behind it and the space after it."""
        keys = []
        while True:
            self._skip(SPACE)
            keys.append(self._simple_key())
            self._skip(SPACE)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _simple_key(self) -> str:
        begin = self._at
        if self._text[begin] in "\"'":
            quoted = self._text[begin : self._skip(STRING)]
            return str(tomllib.loads(f"key = {quoted}")["key"])
        return self._text[begin : self._skip(BARE_KEY)]

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(STRING if first in "\"'" else SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        item = 0
        while self._more("]"):
            self._mark((*path, item))
            self._value((*path, item))
            item += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._more("}"):
            self._pair(path)

    def _more(self, closing: str) -> bool:
        """Whether another item follows; passes over the comma before it, or over the closing bracket."""
        self._skip(BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(BLANK)
        if self._text[self._at] == closing:
            self._at += 1
            return False
        return True

    def _mark(self, path: KeyPath) -> None:
        self._lines.setdefault(path, bisect_left(self._newlines, self._at) + 1)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Move past what matches here, if anything does; returns the new position."""
        if match := pattern.match(self._text, self._at):
            self._at = match.end()
        return self._at
