"""YAML into a Document: strict, so that what is written is what is meant.

Keys are text. `yes`, `no`, `on`, `off`, dates and `1:30` stay text, as in YAML 1.2; only `true` and `false` are booleans. A key
that stands twice, a tag, a merge key, a second document, and an alias inside of what it stands for are errors.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from hitless.config.document import Data, Document
from hitless.config.file import read_text
from hitless.config.keys import KeyPath
from hitless.config.problems import ConfigError, Problem
from hitless.config.sources import Layer, file_layer

VALUE_LIMIT: Final = 200_000
"""Values, aliases counted as often as they are used: a few lines of aliases of aliases stand for millions."""
NUMBERS: Final[Mapping[re.Pattern[str], Callable[[str], Any]]] = {
    re.compile(r"[-+]?[0-9]+"): int,
    re.compile(r"0o[0-7]+"): lambda text: int(text[2:], 8),
    re.compile(r"0x[0-9a-fA-F]+"): lambda text: int(text[2:], 16),
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"): float,
    re.compile(r"[-+]?\.(?:inf|Inf|INF)"): lambda text: -math.inf if text.startswith("-") else math.inf,
    re.compile(r"\.(?:nan|NaN|NAN)"): lambda _: math.nan,
}
"""YAML 1.2, 10.3.2, the core schema."""
HALF: Final = "has half of a surrogate pair, which is no text"
WORDS: Final[Mapping[str, bool | None]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A YAML file. `allow_writable` takes one that others than its owner may write."""

    path: str | os.PathLike[str]
    allow_writable: bool = False

    def layer(self, model: type[BaseModel]) -> Layer:  # noqa: ARG002
        path = Path(self.path)
        text = read_text(path, allow_writable=self.allow_writable)
        return file_layer(path, text, parse_yaml(text, os.fspath(path)))


def parse_yaml(text: str, name: str, *, merge_keys: bool = False, list_key: str | None = None) -> Document:
    """The data and the line of every key.

    `merge_keys` takes `<<`, where formats of others are written with it. With `list_key` the file may be a list: it is read as if
    it stood below this key.

    Raises:
        ConfigError: it is no YAML, or not as strict as it must be; the problem says on which line.
    """
    try:
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise ConfigError([Problem(where, "", f"is not YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        raise ConfigError([Problem(name, "", f"is not YAML: {error}")]) from None
    except RecursionError:
        raise ConfigError([Problem(name, "", "is nested too deeply")]) from None
    if root is None:
        return Document({})
    if isinstance(root, yaml.SequenceNode) and list_key is not None:
        return _Reading(name, merge_keys=merge_keys).listed(list_key, root)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError([Problem(f"{name}:{_line(root)}", "", "is not a table of settings (key: value)")])
    return _Reading(name, merge_keys=merge_keys).document(root)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Composes nodes; what plain scalars mean is decided here, not by YAML 1.1."""

    yaml_implicit_resolvers: Final[dict[str, Any]] = {}


class _Reading:
    """From nodes to values, noting lines. Problems are collected."""

    def __init__(self, name: str, *, merge_keys: bool = False) -> None:
        self._name: Final = name
        self._merge_keys: Final = merge_keys
        self._lines: Final[dict[KeyPath, int]] = {}
        self._problems: Final[list[Problem]] = []
        self._above: Final[list[yaml.Node]] = []
        self._count = 0

    def document(self, root: yaml.MappingNode) -> Document:
        return self._document(self._table((), root))

    def listed(self, key: str, root: yaml.SequenceNode) -> Document:
        self._lines[key,] = _line(root)
        return self._document({key: self._value((key,), root)})

    def _document(self, data: Data) -> Document:
        if self._problems:
            raise ConfigError(self._problems)
        return Document(data, self._lines)

    def _value(self, path: KeyPath, node: yaml.Node) -> Any:
        self._count += 1
        if self._count > VALUE_LIMIT:
            raise ConfigError([self._problem(node, f"stands for more than {VALUE_LIMIT} values")])
        if any(node is each for each in self._above):
            self._refuse(node, "an alias stands inside of what it stands for")
            return None
        self._check_tag(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._above.append(node)
        try:
            return self._table(path, node) if isinstance(node, yaml.MappingNode) else self._list(path, node)
        finally:
            self._above.pop()

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if not _is_whole(node.value):
            self._refuse(node, HALF)
            return ""
        try:
            return node.value if node.style is not None else _plain(node.value)
        except ValueError:  # Python reads no more than 4300 digits
            self._refuse(node, f"a number of {len(node.value)} digits is not taken")
            return None

    def _table(self, path: KeyPath, node: yaml.MappingNode) -> Data:
        table: Data = self._merged(path, node) if self._merge_keys else {}
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(key, "a key must be text")
            elif not _is_whole(key.value):
                self._refuse(key, HALF)
            elif _is_merge(key):
                if self._merge_keys:
                    continue
                self._refuse(key, "merge keys (<<) are not taken; write the keys out")
            elif key.value in first:
                self._refuse(key, f"{key.value} stands here and on line {first[key.value]}; keep one")
            else:
                first[key.value] = self._lines[(*path, key.value)] = _line(key)
                table[key.value] = self._value((*path, key.value), value)
        return table

    def _merged(self, path: KeyPath, node: yaml.MappingNode) -> Data:
        """What `<<` brings in, which the table's own keys replace; of several, the first that has a key. YAML 1.1's merge."""
        merged: Data = {}
        for _, value in (each for each in node.value if _is_merge(each[0])):
            several = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for each in reversed(several):
                if isinstance(each, yaml.MappingNode):
                    merged |= self._value(path, each) or {}
                else:
                    self._refuse(value, "<< takes a table, or a list of them")
        return merged

    def _list(self, path: KeyPath, node: yaml.SequenceNode) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._lines[(*path, index)] = _line(item)
            items.append(self._value((*path, index), item))
        return items

    def _check_tag(self, node: yaml.Node) -> None:
        usual = {yaml.ScalarNode: "str", yaml.SequenceNode: "seq", yaml.MappingNode: "map"}[type(node)]
        if node.tag != f"tag:yaml.org,2002:{usual}":
            self._refuse(node, f"the tag {node.tag} is not taken")

    def _refuse(self, node: yaml.Node, message: str) -> None:
        self._problems.append(self._problem(node, message))

    def _problem(self, node: yaml.Node, message: str) -> Problem:
        return Problem(f"{self._name}:{_line(node)}", "", message)


def _plain(text: str) -> Any:
    if text in WORDS:
        return WORDS[text]
    return next((read(text) for pattern, read in NUMBERS.items() if pattern.fullmatch(text)), text)


def _is_whole(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.style is None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
