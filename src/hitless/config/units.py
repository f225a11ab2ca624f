"""Values that people write with a unit: times, sizes and file modes, as types for pydantic models."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AllowInfNan, BeforeValidator, PlainSerializer

SECONDS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES: Final[Mapping[str, int]] = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}

NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
SPAN: Final = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|s|m|h|d))", re.ASCII)
SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?B|B)", re.ASCII)
MODE: Final = re.compile(r"(?:0o)?[0-7]{1,4}", re.ASCII)


def parse_seconds(value: object) -> float:
    """Seconds from a number or from text such as `20`, `250ms`, `1m30s`, `2h`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if NUMBER.fullmatch(text):
            return float(text)
        parts = SPAN.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text and _descends(parts):
            return float(sum(float(number) * SECONDS[unit] for number, unit in parts))
    raise ValueError('expected seconds, as a number or as text such as "20s", "250ms", "1m30s", "2h" or "1d"')


def parse_bytes(value: object) -> int:
    """Bytes from a whole number or from text such as `64KiB`, `10MB`, `1.5GiB`.

    Raises:
        ValueError: it is neither, or no whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
            return int(text)
        if match := SIZE.fullmatch(text):
            size = float(match[1]) * BYTES[match[2]] if "." in match[1] else int(match[1]) * BYTES[match[2]]
            if size == int(size):
                return int(size)
    raise ValueError('expected bytes, as a whole number or as text such as "64KiB", "10MB" or "1GiB"')


def parse_file_mode(value: object) -> int:
    """A file mode from octal text such as `0027` or `0o27`.

    A number is refused: `27` in a file is what people write for octal 27, and it would be taken for octal 33.

    Raises:
        ValueError: it is no octal text, or more than 0o7777.
    """
    if isinstance(value, str) and MODE.fullmatch(value.strip()):
        return int(value.strip().removeprefix("0o"), 8)
    raise ValueError('expected a file mode as octal text such as "0027" or "0o27"')


def _descends(parts: list[tuple[str, str]]) -> bool:
    """Whether the units come once each, the largest first: `30s1m` and `1s1s` are typing errors."""
    sizes = [SECONDS[unit] for _, unit in parts]
    return all(left > right for left, right in itertools.pairwise(sizes))


Seconds = Annotated[
    float, BeforeValidator(parse_seconds, json_schema_input_type=float | str), AllowInfNan(False)
]
"""Seconds as a float; nan and infinities are refused."""

Bytes = Annotated[int, BeforeValidator(parse_bytes, json_schema_input_type=int | str)]
"""Bytes as an int."""

FileMode = Annotated[
    int,
    BeforeValidator(parse_file_mode, json_schema_input_type=str),
    # Written as it is read, so that settings that were stored can be loaded again.
    PlainSerializer(lambda mode: f"{mode:04o}", return_type=str, when_used="json"),
]
"""Permission bits as an int."""
