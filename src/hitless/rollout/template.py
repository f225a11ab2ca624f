"""Variables in the texts of `rollout.yaml`: `{name}` stands for a value, `{{name}}` for itself.

Only names of variables are replaced, so that shell, awk and JSON keep their braces: `{print $1}`, `${HOME}`, `{"a": 1}`.
Variables may stand in the values of variables too, those that are given in no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

VARIABLE: Final = re.compile(r"(?<!\$)\{\{([a-z_][a-z0-9_]*)\}\}|(?<!\$)\{([a-z_][a-z0-9_]*)\}")


def variables_of(text: str) -> Iterator[str]:
    """The names that stand in a text."""
    for match in VARIABLE.finditer(text):
        if match[2] is not None:
            yield match[2]


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with values. Raises KeyError for a name that has none; reading the file has made sure that there is none."""
    return VARIABLE.sub(lambda match: f"{{{match[1]}}}" if match[2] is None else values[match[2]], text)


def filled_all(texts: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filled(text, values) for text in texts)


class Unfillable(ValueError):
    """A variable's value cannot be filled in: the message says why."""


def resolved(variables: Mapping[str, str], given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The values with the variables in them filled in, and of those that cannot be, why. What is given holds no variables,
    whatever is written in it."""
    done, wrong = dict(given), dict[str, str]()
    for name in variables:
        try:
            _value(name, variables, done, within=())
        except Unfillable as error:
            wrong[name] = str(error)
    return done, wrong


def _value(name: str, variables: Mapping[str, str], done: dict[str, str], *, within: tuple[str, ...]) -> str:
    if name in done:
        return done[name]
    if name in within:
        raise Unfillable(f"{' holds '.join((*within, name))}, which never ends")
    if name not in variables:
        there = ", ".join(sorted({*done, *variables} - {*within}))
        raise Unfillable(
            f"there is no variable {name} here; there are: {there} (write {{{{{name}}}}} for the braces)"
        )
    inner = {
        each: _value(each, variables, done, within=(*within, name)) for each in variables_of(variables[name])
    }
    done[name] = filled(variables[name], inner)
    return done[name]
