"""Text into a path, by recursive descent: union, sum, product, path."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

from hitless.agent.notifications.steps import (
    Below,
    Condition,
    Constant,
    Expression,
    Index,
    Name,
    Slice,
    Split,
    Step,
    Steps,
    Sub,
    Sum,
    Union,
    Where,
    all_names,
    length,
)

LENGTH_LIMIT: Final = 2000


class PathError(ValueError):
    """It is no path; the message says where it stops making sense."""


def parsed(text: str) -> Expression:
    """Raises PathError."""
    return _Parser(text).parsed()


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
    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._at = 0
        self._kind = self._token = ""
        if len(text) > LENGTH_LIMIT:
            raise PathError(f"a path of {len(text)} characters is too long; at most {LENGTH_LIMIT}")
        self._next()

    def parsed(self) -> Expression:
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

    def _union(self) -> Expression:
        sides = [self._sum()]
        while self._takes("|"):
            sides.append(self._sum())
        return sides[0] if len(sides) == 1 else Union(sides)

    def _sum(self) -> Expression:
        left = self._product()
        while sign := self._takes("+", "-"):
            left = Sum(left, ARITHMETIC[sign], self._product())
        return left

    def _product(self) -> Expression:
        left = self._term()
        while sign := self._takes("*", "/"):
            left = Sum(left, ARITHMETIC[sign], self._term())
        return left

    def _term(self) -> Expression:
        if self._takes("("):
            inner = self._union()
            if not self._takes(")"):
                self._fail()
            return inner
        if self._kind in ("text", "number"):
            value = _unquoted(self._token) if self._kind == "text" else _number(self._token)
            self._next()
            return Constant(value)
        return self._path()

    def _path(self) -> Steps:
        steps: list[Step] = []
        if not self._takes("$"):
            steps.append(self._name())
        while True:
            if self._kind == "mark" and self._token == "[":
                steps.append(self._bracket())
            elif self._takes("."):
                steps.append(self._bracket() if self._token == "[" else self._name())
            elif self._takes(".."):
                steps.append(Below(self._bracket() if self._token == "[" else self._name()))
            else:
                return Steps(steps)

    def _name(self) -> Step:
        kind, token = self._kind, self._token
        if kind == "call":
            step = self._call(token[1:-1])
        elif kind in ("name", "text"):
            step = Name(token if kind == "name" else _unquoted(token))
        elif token == "*":
            step = all_names
        else:
            self._fail()
        self._next()
        return step

    def _call(self, text: str) -> Step:
        if (found := SPLIT.fullmatch(text)) is not None:
            return Split(found[1], int(found[2]), int(found[3]))
        if (found := SUB.fullmatch(text)) is not None:
            try:
                return Sub(re.compile(found[1]), found[2])
            except re.error as error:
                raise PathError(f"{self._text}: {found[1]} is no regular expression: {error}") from None
        if text == "len":
            return length
        if text == "this":
            return lambda match: iter([match])
        raise PathError(f"{self._text}: the function {text} is not known (there are: split, sub, len, this)")

    def _bracket(self) -> Step:
        end = self._closing(self._begin + self._text[self._begin :].index("["))
        inner = self._text[self._text.index("[", self._begin) + 1 : end].strip()
        self._at = end + 1
        self._next()
        if inner.startswith("?"):
            return Where(tuple(self._conditions(inner[1:].strip())))
        if inner == "*":
            return Slice()
        if re.fullmatch(r"-?\d+", inner):
            return Index(int(inner))
        if (found := re.fullmatch(r"(-?\d*)\s*:\s*(-?\d*)", inner)) is not None:
            start, stop = (int(each) if each else None for each in found.groups())
            return Slice(start, stop)
        if re.fullmatch(r"'[^']*'|\"[^\"]*\"|[A-Za-z_][\w-]*", inner):
            return Name(inner.strip("'\""))
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

    def _conditions(self, text: str) -> Iterator[Condition]:
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
        for each in text.split("&"):
            found = CONDITION.fullmatch(each)
            if found is None:
                raise PathError(f"{self._text}: {each} is no condition (expected as @.name='cpu')")
            name = found["path"].removeprefix("@.").removeprefix("@")
            inner = _Parser(name).parsed() if name else Steps(())
            if not isinstance(inner, Steps):
                raise PathError(f"{self._text}: {found['path']} is not a plain path")
            yield Condition(inner, COMPARE.get(found["op"] or ""), _literal(found["value"] or ""))


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
