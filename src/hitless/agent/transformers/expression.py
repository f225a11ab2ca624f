"""Expressions of pipeline files, as `100.0 / (10**9 * (resource_metadata.cpu_number or 1))`.

Ceilometer executes them as Python. Here they are arithmetic: numbers, fields of samples, operators, comparisons, `and`, `or`,
`x if y else z` and a few functions; everything else is refused before it runs.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from types import CodeType
from typing import Any, Final

LONGEST: Final = 1000
"""Characters."""
LARGEST_BITS: Final = 4096
"""Of whole numbers that are powers: `9**9**9` would be computed for hours. Beyond it they are taken as floating point."""
_ALLOWED: Final = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Constant,
    ast.Name,
    ast.Attribute,
    ast.Call,
    ast.Load,
    ast.And,
    ast.Or,
    ast.Not,
    ast.UAdd,
    ast.USub,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.Pow,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
)
_POWER: Final = "__power__"
_TIMES: Final = "__times__"


class Missing:
    """A field that is not there: false, and so are its own fields; it cannot be computed with. As in Ceilometer."""

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Missing:
        return self


MISSING: Final = Missing()


class Fields:
    """A mapping whose values are read as attributes."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return wrapped(self._values.get(name, MISSING))


def wrapped(value: Any) -> Any:
    return Fields(value) if isinstance(value, Mapping) else value


class Expression:
    """Immutable."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        """Raises ValueError: it is no such expression, or has a name in it that is not one of `names`."""
        if len(text) > LONGEST:
            raise ValueError(f"an expression has at most {LONGEST} characters, this one has {len(text)}")
        self.text: Final = text
        try:
            self._code: Final = _compiled(text, names)
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"{text} is no expression: {getattr(error, 'msg', error)}") from None

    def value(self, values: Mapping[str, Any]) -> float:
        """Raises what arithmetic raises: ZeroDivisionError, OverflowError, TypeError (a field that is not there)."""
        found = eval(self._code, _SCOPE, values)
        return float(found)


def _complaint(node: ast.AST, names: Collection[str]) -> str | None:
    if not isinstance(node, _ALLOWED):
        return f"{type(node).__name__.lower()} is not arithmetic"
    match node:
        case ast.Name(id=name) if name not in names and name not in FUNCTIONS:
            return f"there is no {name} (there are: {', '.join(sorted(names))})"
        case ast.Attribute(attr=name) if name.startswith("_"):
            return f"no field is named {name}"
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
            return None
        case ast.Call():
            return f"only {', '.join(FUNCTIONS)} can be called"
        case ast.Constant(value=value) if not isinstance(value, int | float | str | None):
            return f"{value!r} is not arithmetic"
    return None


def _compiled(text: str, names: Collection[str]) -> CodeType:
    tree = ast.parse(text.strip(), mode="eval")
    for node in ast.walk(tree):
        if (complaint := _complaint(node, names)) is not None:
            raise ValueError(f"{complaint} in {text}")
    checked = ast.fix_missing_locations(_Bounded().visit(tree))
    found: CodeType = compile(checked, "<expression>", "eval")
    return found


class _Bounded(ast.NodeTransformer):
    """`a ** b` and `a * b` by functions that take neither for ever nor all the memory."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        name = _POWER if isinstance(node.op, ast.Pow) else _TIMES if isinstance(node.op, ast.Mult) else None
        return node if name is None else ast.Call(ast.Name(name, ast.Load()), [node.left, node.right], [])


def _power(base: Any, exponent: Any) -> Any:
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and base.bit_length() * abs(exponent) > LARGEST_BITS
    ):
        return float(base) ** exponent
    return base**exponent


def _times(left: Any, right: Any) -> Any:
    if isinstance(left, str) or isinstance(right, str):
        raise TypeError("text cannot be multiplied")
    return left * right


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs,
    "float": float,
    "int": int,
    "max": max,
    "min": min,
    "round": round,
}
_SCOPE: Final = {"__builtins__": {}, _POWER: _power, _TIMES: _times, **FUNCTIONS}
