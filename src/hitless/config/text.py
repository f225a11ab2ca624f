"""Values from the text of environment variables and flags, read as the setting's type wants it."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pydantic.fields import FieldInfo

from hitless.config.schema import Shape, is_optional, item_of, shape_of

BOOLS: Final[Mapping[str, bool]] = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def value_of(text: str, info: FieldInfo) -> Any:
    """The value that `text` stands for; text that it cannot be is left for the model to refuse.

    Empty text unsets a setting that may be unset.
    """
    if not text and is_optional(info.annotation):
        return None
    return _read(text, info.annotation, info.metadata)


def values_of(texts: Sequence[Any], info: FieldInfo) -> Any:
    """The value of a flag that was given several times."""
    if shape_of(info.annotation, info.metadata) is Shape.TABLE:
        return _table(texts, info.annotation)
    item = item_of(info.annotation)
    return [_read(text, item) if isinstance(text, str) else text for text in texts]


def _read(text: str, annotation: Any, metadata: Collection[Any] = ()) -> Any:
    match shape_of(annotation, metadata):
        case Shape.BOOL:
            return BOOLS.get(text.strip().lower(), text)
        case Shape.SCALAR:
            return _toml(text)
        case Shape.LIST:
            if text.lstrip().startswith("["):
                return _toml(text)
            return (
                [_read(part.strip(), item_of(annotation)) for part in text.split(",")] if text.strip() else []
            )
        case Shape.TABLE:
            if text.lstrip().startswith("{"):
                return _toml(text)
            return _table(text.split(","), annotation) if text.strip() else {}
        case Shape.TEXT:
            return text


def _table(pairs: Sequence[Any], annotation: Any) -> Any:
    """A table of `KEY=VALUE` texts; the texts themselves if one is no such pair."""
    table = {}
    for pair in pairs:
        key, equals, value = str(pair).partition("=")
        if not equals or not key.strip():
            return str(pair)
        table[key.strip()] = _read(value, item_of(annotation))
    return table


def _toml(text: str) -> Any:
    """The value as a TOML file would have it, or the text itself if it is none."""
    if "\n" in text.strip():
        return text  # it could be more than a value
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except (ValueError, RecursionError):
        return text
