"""The model's errors, said for people: where it stands, which key, what was expected, what was found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from hitless.config.document import Data
from hitless.config.keys import KeyPath, at, dotted, has
from hitless.config.problems import Problem
from hitless.config.schema import model_at, section_of, settings_of, strip
from hitless.config.secrets import MASK, is_secret_name, shown

SHOWN_LIMIT: Final = 60
SECRETS: Final = (SecretStr, SecretBytes)

EXPECTED: Final[Mapping[str, str]] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}
"""What pydantic's error types mean, in the words of a configuration file; others are taken from its message."""


def complaints(
    error: ValidationError, model: type[BaseModel], data: Data, where: Callable[[KeyPath], str]
) -> list[Problem]:
    """One problem for each key that the model refuses, in the order of the lines that they stand on."""
    found: dict[KeyPath, Problem] = {}
    for details in error.errors(include_url=False):
        path = _path(details, model, data)
        problem = Problem(where(path), dotted(path), _message(details, model, path, data))
        if path in found:
            # A value that may be one of several types is refused once by each of them.
            problem = Problem(problem.where, problem.key, f"{found[path].message}; or {problem.message}")
        found[path] = problem
    # A list with a wrong item is also called too short; the item says it better.
    above = {path[:length] for path in found for length in range(1, len(path))}
    return sorted((problem for path, problem in found.items() if path not in above), key=_place)


def _path(details: ErrorDetails, model: type[BaseModel], data: Data) -> KeyPath:
    """The key that an error is about. Its location also names members of unions, which no file holds, though a key may be
    called like one.
    """
    path: KeyPath = ()
    value: Any = data
    reached: list[Any] = [model]
    location = details["loc"]
    for index, part in enumerate(location):
        if any(_is_union(each) for each in reached):
            reached = list(_members(reached))
        elif has(value, part):
            path, value, (reached, _) = (*path, part), value[part], _below(reached, part)
        elif details["type"] == "missing" and index == len(location) - 1:
            path = (*path, part)
    return path


def _message(details: ErrorDetails, model: type[BaseModel], path: KeyPath, data: Data) -> str:
    if details["type"] == "missing":
        return f"is required{_description(model, path, data)}"
    if details["type"] == "extra_forbidden":
        return f"unknown key{_hint(model, path, data)}"
    return f"{_expectation(details)}{_found(at(data, path), model, path)}"


def _expectation(details: ErrorDetails) -> str:
    if form := EXPECTED.get(details["type"]):
        bounds = details.get("ctx", {})
        return f"expected {form.format(**{name: _number(bound) for name, bound in bounds.items()})}"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = re.sub(r"^Input should be (a valid )?", "expected ", message)
    return message[:1].lower() + message[1:]


def _number(bound: Any) -> Any:
    """Bounds of floats without the `.0` that nobody wrote."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _description(model: type[BaseModel], path: KeyPath, data: Data) -> str:
    *above, name = path
    found = (table.model_fields.get(str(name)) for table in _tables(model, tuple(above), data))
    return next((f" ({info.description})" for info in found if info and info.description), "")


def _hint(model: type[BaseModel], path: KeyPath, data: Data) -> str:
    *above, name = path
    known = [field for table in _tables(model, tuple(above), data) for field in table.model_fields]
    if close := get_close_matches(str(name), known, n=1):
        return f"; did you mean {close[0]}?"
    elsewhere = [".".join(known) for known in settings_of(model) if known[-1] == name]
    if str(name) in elsewhere:
        return f"; {name} stands at the top of the file, before the first [table]"
    return f"; did you mean {' or '.join(elsewhere)}?" if elsewhere else ""


def _found(value: Any, model: type[BaseModel], path: KeyPath) -> str:
    if is_secret_at(model, path):
        return f", got {MASK}"
    if isinstance(value, dict):
        # Its values may be secrets, and a rule over a whole table is not about one of them.
        return ", got a table" if model_at(model, path) is None else ""
    text = json.dumps(shown(value), ensure_ascii=False, default=str)
    return f", got {text}" if len(text) <= SHOWN_LIMIT else f", got {text[:SHOWN_LIMIT]}…"


def is_secret_at(model: type[BaseModel], path: KeyPath) -> bool:
    """Whether the value at the path must not be shown: by the type of a setting, or by the name of a key in a mapping."""
    reached: list[Any] = [model]
    for part in path:
        below, is_named = _below(reached, part)
        if any(_holds_secrets(each) for each in below) or (not is_named and is_secret_name(str(part))):
            return True
        reached = below or reached  # else it is the tag of a union
    return False


def _tables(model: type[BaseModel], path: KeyPath, data: Data) -> list[type[BaseModel]]:
    """The models that the table at the path may be of: of a union those whose constants it has, as `kind = "amqp"`."""
    reached: list[Any] = [model]
    for part in path:
        reached, _ = _below(reached, part)
    found = [section for each in _members(reached) if (section := section_of(each)) is not None]
    return [each for each in found if _fits(each, at(data, path))]


def _fits(section: type[BaseModel], table: Any) -> bool:
    bare = ((name, strip(info.annotation)[0]) for name, info in section.model_fields.items())
    constants = {name: get_args(each) for name, each in bare if get_origin(each) is Literal}
    return all(table.get(name, values[0]) in values for name, values in constants.items())


def _is_union(annotation: Any) -> bool:
    return get_origin(strip(annotation)[0]) in (Union, UnionType)


def _below(annotations: Iterable[Any], part: str | int) -> tuple[list[Any], bool]:
    """The annotations of what is called `part` in any of these, and whether that is a field's name."""
    below: list[Any] = []
    is_named = False
    for each in _members(annotations):
        section = section_of(each)
        if section is None:
            items = [item for item in get_args(each) if item is not Ellipsis]
            below += items[-1:] if isinstance(part, str) else items  # the values of a mapping, not its keys
        elif (info := section.model_fields.get(str(part))) is not None:
            below.append(info.annotation)
            is_named = True
    return below, is_named


def _members(annotations: Iterable[Any]) -> Iterator[Any]:
    """The annotations, and those that unions consist of."""
    for each in annotations:
        bare, _ = strip(each)
        if _is_union(bare):
            yield from _members(get_args(bare))
        else:
            yield bare


def _holds_secrets(annotation: Any) -> bool:
    """Whether there is a secret in it that is no setting of its own: what is in a table is asked for one by one."""
    return any(
        each in SECRETS or (section_of(each) is None and any(_holds_secrets(item) for item in get_args(each)))
        for each in _members([annotation])
    )


def _place(problem: Problem) -> tuple[str, int]:
    name, _, line = problem.where.rpartition(":")
    return (name, int(line)) if line.isdigit() else (problem.where, 0)
