"""Paths into a notification: the dialect of JSONPath in which Ceilometer's definitions are written.

Not by a library: the definitions need the grammar of jsonpath-rw-ext (no release since 2019), from which the
maintained libraries have gone away towards RFC 9535: there `[*]` takes nothing of a single value, words want quotes.

    payload.id   $.payload.id   payload.'with.dots'   payload['x']   a[0]   a[*].b   a.*   a..b   a[1:3]
    a[?key=image_id].value   a[?(@.name='cpu' & @.value > 2)]
    publisher_id.`split(., 1, -1)`   name.`sub(/a+/, b)`   list.`len`
    $.payload.host + "_" + $.payload.node   $.payload.share * 100   a|b   (a.b)|(c.d)
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn

LENGTH_LIMIT: Final = 2000
DEPTH_LIMIT: Final = 100
"""Of `..`: deeper values of a message are not looked at."""


class PathError(ValueError):
    """It is no path; the message says where it stops making sense."""


class Match(NamedTuple):
    where: tuple[str, ...]
    value: Any


Step = Callable[[Match], Iterator[Match]]


class Path:
    """Immutable. `find` never raises: what is not there gives no match."""

    def __init__(self, text: str) -> None:
        """Raises PathError."""
        self.text: Final = text
        parsed = _Parser(text).parsed()
        self._find: Final = parsed.find
        self._names: Final = parsed.names() if isinstance(parsed, _Steps) else None

    def find(self, body: Mapping[str, Any]) -> list[Match]:
        if self._names is None:
            return list(self._find(Match((), body)))
        # Nearly all paths are plain names; this is the hot path of a listener.
        value: Any = body
        for name in self._names:
            if not isinstance(value, dict) or name not in value:
                return []
            value = value[name]
        return [Match(self._names, value)]

    def __repr__(self) -> str:
        return f"Path({self.text!r})"


class _Steps:
    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps: Final = tuple(steps)

    def find(self, match: Match) -> Iterator[Match]:
        found = [match]
        for step in self.steps:
            found = [deeper for each in found for deeper in step(each)]
        return iter(found)

    def names(self) -> tuple[str, ...] | None:
        names = [step.name for step in self.steps if isinstance(step, _Name)]
        return tuple(names) if len(names) == len(self.steps) else None


@dataclass(frozen=True, slots=True)
class _Name:
    name: str

    def __call__(self, match: Match) -> Iterator[Match]:
        if isinstance(match.value, dict) and self.name in match.value:
            yield Match((*match.where, self.name), match.value[self.name])


@dataclass(frozen=True, slots=True)
class _Index:
    index: int

    def __call__(self, match: Match) -> Iterator[Match]:
        items = match.value
        if isinstance(items, list) and -len(items) <= self.index < len(items):
            yield Match((*match.where, f"[{self.index}]"), items[self.index])


@dataclass(frozen=True, slots=True)
class _Slice:
    start: int | None = None
    end: int | None = None

    def __call__(self, match: Match) -> Iterator[Match]:
        """A single value counts as a list of one: so do the definitions for Swift's measurements."""
        value = match.value
        items = value if isinstance(value, list) else [] if value is None else [value]
        for index in range(*slice(self.start, self.end).indices(len(items))):
            yield Match((*match.where, f"[{index}]"), items[index])


def _all_names(match: Match) -> Iterator[Match]:
    if isinstance(match.value, dict):
        for name, value in match.value.items():
            yield Match((*match.where, name), value)


@dataclass(frozen=True, slots=True)
class _Below:
    """`..`: the step, here and at every depth."""

    step: Step

    def __call__(self, match: Match) -> Iterator[Match]:
        yield from self.step(match)
        if len(match.where) < DEPTH_LIMIT:
            inner = _all_names(match) if isinstance(match.value, dict) else _Slice()(match)
            if isinstance(match.value, dict | list):
                for each in inner:
                    yield from self(each)


@dataclass(frozen=True, slots=True)
class _Condition:
    path: _Steps
    compare: Callable[[Any, Any], bool] | None
    value: Any

    def holds(self, item: Any) -> bool:
        found = list(self.path.find(Match((), item)))
        if not found or self.compare is None:
            return bool(found)
        try:
            return any(self.compare(_as(each.value, self.value), self.value) for each in found)
        except TypeError:
            return False


def _as(value: Any, pattern: Any) -> Any:
    """A value that is text, where it is compared with a number."""
    if isinstance(pattern, int | float) and not isinstance(pattern, bool) and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


@dataclass(frozen=True, slots=True)
class _Where:
    conditions: tuple[_Condition, ...]

    def __call__(self, match: Match) -> Iterator[Match]:
        value = match.value
        items = list(value.values()) if isinstance(value, dict) else value
        if isinstance(items, list):
            for index, item in enumerate(items):
                if all(each.holds(item) for each in self.conditions):
                    yield Match((*match.where, f"[{index}]"), item)


@dataclass(frozen=True, slots=True)
class _Split:
    separator: str
    segment: int
    limit: int

    def __call__(self, match: Match) -> Iterator[Match]:
        if isinstance(match.value, str):
            parts = match.value.split(self.separator, self.limit)
            if self.segment < len(parts):
                yield Match(match.where, parts[self.segment])


@dataclass(frozen=True, slots=True)
class _Sub:
    pattern: re.Pattern[str]
    replacement: str

    def __call__(self, match: Match) -> Iterator[Match]:
        if isinstance(match.value, str):
            yield Match(match.where, self.pattern.sub(self.replacement, match.value))


def _len(match: Match) -> Iterator[Match]:
    if isinstance(match.value, list | dict | str):
        yield Match(match.where, len(match.value))


class _Constant:
    def __init__(self, value: Any) -> None:
        self.value: Final = value

    def find(self, _: Match) -> Iterator[Match]:
        yield Match((), self.value)


class _Union:
    def __init__(self, sides: Sequence[_Expression]) -> None:
        self._sides: Final = tuple(sides)

    def find(self, match: Match) -> Iterator[Match]:
        for side in self._sides:
            yield from side.find(match)


class _Sum:
    """`a + b`: pair by pair where both have as many matches; a constant goes with each of the other side."""

    def __init__(self, left: _Expression, do: Callable[[Any, Any], Any], right: _Expression) -> None:
        self._left: Final = left
        self._do: Final = do
        self._right: Final = right

    def find(self, match: Match) -> Iterator[Match]:
        left, right = list(self._left.find(match)), list(self._right.find(match))
        if isinstance(self._left, _Constant):
            left *= len(right)
        if isinstance(self._right, _Constant):
            right *= len(left)
        if len(left) != len(right):
            return
        for one, other in zip(left, right, strict=True):
            try:
                yield Match(one.where, self._do(one.value, other.value))
            except (TypeError, ArithmeticError):
                return


_Expression = _Steps | _Constant | _Union | _Sum

TOKEN: Final = re.compile(
    r"\s*(?:(?P<call>`[^`]*`)|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_@][A-Za-z0-9_@-]*)|(?P<mark>\.\.|[$.*\[\]()|+/:,-])|(?P<where>\?))"
)
ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
CONDITION: Final = re.compile(r"\s*(?P<path>[^=!<>]+?)\s*(?:(?P<op>==|!=|<=|>=|=|<|>)\s*(?P<value>.+?))?\s*")
SPLIT: Final = re.compile(r"split\((.),\s*(\d+),\s*(\d+|-1)\)")
SUB: Final = re.compile(r"sub\(/(.*)/,\s*(.*)\)")


class _Parser:
    """By recursive descent: union, sum, product, path."""

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._at = 0
        self._kind = self._token = ""
        if len(text) > LENGTH_LIMIT:
            raise PathError(f"a path of {len(text)} characters is too long; at most {LENGTH_LIMIT}")
        self._next()

    def parsed(self) -> _Expression:
        found = self._union()
        if self._kind:
            self._fail()
        return found

    def _next(self) -> None:
        found = TOKEN.match(self._text, self._at)
        self._begin = self._at
        if found is None:
            self._kind = self._token = ""
            if self._text[self._at :].strip():
                self._fail()
            return
        self._at = found.end()
        self._kind = found.lastgroup or ""
        self._token = found[self._kind]

    def _fail(self) -> NoReturn:
        rest = self._text[self._begin :].strip() or "its end"
        raise PathError(f"{self._text} is no path: {rest} is not expected there")

    def _takes(self, *marks: str) -> str:
        if self._kind == "mark" and self._token in marks:
            token = self._token
            self._next()
            return token
        return ""

    def _union(self) -> _Expression:
        sides = [self._sum()]
        while self._takes("|"):
            sides.append(self._sum())
        return sides[0] if len(sides) == 1 else _Union(sides)

    def _sum(self) -> _Expression:
        left = self._product()
        while sign := self._takes("+", "-"):
            left = _Sum(left, ARITHMETIC[sign], self._product())
        return left

    def _product(self) -> _Expression:
        left = self._term()
        while sign := self._takes("*", "/"):
            left = _Sum(left, ARITHMETIC[sign], self._term())
        return left

    def _term(self) -> _Expression:
        if self._takes("("):
            inner = self._union()
            if not self._takes(")"):
                self._fail()
            return inner
        if self._kind in ("text", "number"):
            value = _unquoted(self._token) if self._kind == "text" else _number(self._token)
            self._next()
            return _Constant(value)
        return self._path()

    def _path(self) -> _Steps:
        steps: list[Step] = []
        if not self._takes("$"):
            steps.append(self._name())
        while True:
            if self._kind == "mark" and self._token == "[":
                steps.append(self._bracket())
            elif self._takes("."):
                steps.append(self._bracket() if self._token == "[" else self._name())
            elif self._takes(".."):
                steps.append(_Below(self._bracket() if self._token == "[" else self._name()))
            else:
                return _Steps(steps)

    def _name(self) -> Step:
        kind, token = self._kind, self._token
        if kind == "call":
            step = self._call(token[1:-1])
        elif kind in ("name", "text"):
            step = _Name(token if kind == "name" else _unquoted(token))
        elif token == "*":
            step = _all_names
        else:
            self._fail()
        self._next()
        return step

    def _call(self, text: str) -> Step:
        if (found := SPLIT.fullmatch(text)) is not None:
            return _Split(found[1], int(found[2]), int(found[3]))
        if (found := SUB.fullmatch(text)) is not None:
            try:
                return _Sub(re.compile(found[1]), found[2])
            except re.error as error:
                raise PathError(f"{self._text}: {found[1]} is no regular expression: {error}") from None
        if text == "len":
            return _len
        if text == "this":
            return lambda match: iter([match])
        raise PathError(f"{self._text}: the function {text} is not known (there are: split, sub, len, this)")

    def _bracket(self) -> Step:
        end = self._closing(self._begin + self._text[self._begin :].index("["))
        inner = self._text[self._text.index("[", self._begin) + 1 : end].strip()
        self._at = end + 1
        self._next()
        if inner.startswith("?"):
            return _Where(tuple(self._conditions(inner[1:].strip())))
        if inner == "*":
            return _Slice()
        if re.fullmatch(r"-?\d+", inner):
            return _Index(int(inner))
        if (found := re.fullmatch(r"(-?\d*)\s*:\s*(-?\d*)", inner)) is not None:
            start, stop = (int(each) if each else None for each in found.groups())
            return _Slice(start, stop)
        if re.fullmatch(r"'[^']*'|\"[^\"]*\"|[A-Za-z_][\w-]*", inner):
            return _Name(inner.strip("'\""))
        raise PathError(f"{self._text}: [{inner}] is not understood")

    def _closing(self, opening: int) -> int:
        quote = ""
        for index in range(opening + 1, len(self._text)):
            character = self._text[index]
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            elif character == "]":
                return index
        raise PathError(f"{self._text}: a bracket is not closed")

    def _conditions(self, text: str) -> Iterator[_Condition]:
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
        for each in text.split("&"):
            found = CONDITION.fullmatch(each)
            if found is None:
                raise PathError(f"{self._text}: {each} is no condition (expected as @.name='cpu')")
            name = found["path"].removeprefix("@.").removeprefix("@")
            inner = _Parser(name).parsed() if name else _Steps(())
            if not isinstance(inner, _Steps):
                raise PathError(f"{self._text}: {found['path']} is not a plain path")
            yield _Condition(inner, COMPARE.get(found["op"] or ""), _literal(found["value"] or ""))


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _literal(text: str) -> Any:
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        return _unquoted(text)
    if text in ("true", "false"):
        return text == "true"
    return _number(text) if re.fullmatch(r"\d+(?:\.\d+)?", text) else text
