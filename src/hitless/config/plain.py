"""Settings as plain JSON values, secrets included: for the hash, for the journal, for comparing. Not for showing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final

from pydantic import BaseModel, SecretBytes, SecretStr

from hitless.change import JSON, canonical
from hitless.config.keys import KeyPath
from hitless.config.secrets import is_secret_name

SCALARS: Final = frozenset({str, int, float, bool, NoneType})
"""Most values are of these; they are asked for first, because settings may be large."""


def plain(settings: BaseModel) -> dict[str, JSON]:
    """The settings as they could stand in a file; loading this gives equal settings."""
    data = _revealed(settings, settings.model_dump(mode="json"))
    if not isinstance(data, dict):
        raise TypeError(f"{type(settings).__name__} is not a table of settings")
    return data


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting with its value."""

    path: KeyPath
    value: JSON
    is_secret: bool


def leaves(settings: BaseModel, data: JSON = None) -> Iterator[Leaf]:
    """Every setting: tables are gone into, lists of plain values are one value. `data` is `plain(settings)`, where it is
    there already.
    """
    return _leaves((), settings, plain(settings) if data is None else data, is_secret=False)


def _leaves(path: KeyPath, value: Any, data: JSON, *, is_secret: bool) -> Iterator[Leaf]:
    if type(value) in SCALARS:
        yield Leaf(path, data, is_secret)
    elif isinstance(value, BaseModel) and isinstance(data, dict):
        for name in data:
            yield from _leaves((*path, name), getattr(value, name, None), data[name], is_secret=is_secret)
    elif isinstance(value, Mapping) and isinstance(data, dict) and data:
        for key, item in value.items():
            secret = is_secret or is_secret_name(str(key))
            yield from _leaves((*path, str(key)), item, data.get(str(key)), is_secret=secret)
    elif isinstance(value, list | tuple) and any(isinstance(item, BaseModel | Mapping) for item in value):
        assert isinstance(data, list)
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item, data[index], is_secret=is_secret)
    else:
        yield Leaf(path, data, is_secret or _holds_secret(value))


def _holds_secret(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_secret(item) for item in value)
    return isinstance(value, SecretStr | SecretBytes)


def _revealed(value: Any, dumped: Any) -> Any:
    """`dumped` with what the model hides or leaves without order put right."""
    if type(value) in SCALARS:
        return dumped
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, SecretBytes):
        return value.get_secret_value().decode("utf-8", "surrogateescape")
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        return {name: _revealed(getattr(value, name, None), item) for name, item in dumped.items()}
    if isinstance(value, Mapping) and isinstance(dumped, dict):
        return {str(key): _revealed(item, dumped.get(str(key))) for key, item in value.items()}
    if isinstance(value, set | frozenset) and isinstance(dumped, list):
        # Python orders text in sets anew in every process; the hash must be the same in all of them.
        return sorted(dumped, key=canonical)
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_revealed(item, each) for item, each in zip(value, dumped, strict=True)]
    return dumped
