"""Variables in the texts of `rollout.yaml`: `{name}` stands for a value, `{{name}}` for itself.

Only names of variables are replaced, so that shell, awk and JSON keep their braces: `{print $1}`, `${HOME}`, `{"a": 1}`.
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
