"""Settings as plain JSON values, secrets included: for the hash, for the journal, for comparing. Not for showing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, SecretBytes, SecretStr

from hitless.change import JSON, canonical
from hitless.config.keys import KeyPath
from hitless.config.secrets import is_secret_name

SCALARS: Final = frozenset({str, int, float, bool, NoneType})
"""Most values are of these; they are asked for first, because settings may be large."""


class Leaf(NamedTuple):
    """One setting with its value."""

    path: KeyPath
    value: JSON
    is_secret: bool


def plain(settings: BaseModel) -> dict[str, JSON]:
    """The settings as they could stand in a file; loading this gives equal settings."""
    return read(settings)[0]


def leaves(settings: BaseModel) -> Iterator[Leaf]:
    """Every setting: tables are gone into, lists of plain values are one value."""
    return iter(read(settings)[1])


def read(settings: BaseModel) -> tuple[dict[str, JSON], list[Leaf]]:
    """`plain` and `leaves` in one pass."""
    found: list[Leaf] = []
    data = _read((), settings, settings.model_dump(mode="json"), found, is_secret=False)
    if not isinstance(data, dict):
        raise TypeError(f"{type(settings).__name__} is not a table of settings")
    return data, found


def _read(path: KeyPath, value: Any, dumped: Any, found: list[Leaf], *, is_secret: bool) -> Any:
    """`dumped` with what the model hides or leaves without order put right; its leaves are added to `found`."""
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        return _read_table(path, value, dumped, found, is_secret=is_secret)
    if isinstance(value, Mapping) and isinstance(dumped, dict) and dumped:
        return _read_mapping(path, value, dumped, found, is_secret=is_secret)
    if isinstance(value, list | tuple) and any(isinstance(item, BaseModel | Mapping) for item in value):
        return [
            _read((*path, index), item, dumped[index], found, is_secret=is_secret)
            for index, item in enumerate(value)
        ]
    data = _revealed(value, dumped)
    found.append(Leaf(path, data, is_secret or _holds_secret(value)))
    return data


def _read_table(
    path: KeyPath, value: BaseModel, dumped: dict[str, Any], found: list[Leaf], *, is_secret: bool
) -> dict[str, Any]:
    data = dumped
    for name, item in dumped.items():
        part = getattr(value, name, None)
        if type(part) in SCALARS:  # here, not one call deeper: most are
            found.append(Leaf((*path, name), item, is_secret))
            continue
        plain = _read((*path, name), part, item, found, is_secret=is_secret)
        if plain is not item:
            data = dict(dumped) if data is dumped else data  # a serializer may have given what is not ours
            data[name] = plain
    return data


def _read_mapping(
    path: KeyPath, value: Mapping[Any, Any], dumped: dict[str, Any], found: list[Leaf], *, is_secret: bool
) -> dict[str, Any]:
    data = {}
    for key, item in value.items():
        name = str(key)
        secret = is_secret or is_secret_name(name)
        data[name] = _read((*path, name), item, dumped.get(name), found, is_secret=secret)
    return data


def _holds_secret(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_secret(item) for item in value)
    if isinstance(value, BaseModel | Mapping):  # in a list of lists
        items = (
            ((key, getattr(value, key)) for key in type(value).model_fields)
            if isinstance(value, BaseModel)
            else value.items()
        )
        return any(is_secret_name(str(key)) or _holds_secret(item) for key, item in items)
    return isinstance(value, SecretStr | SecretBytes)


def _revealed(value: Any, dumped: Any) -> Any:
    """One value; tables are in it only where it is a list of lists."""
    if type(value) in SCALARS:
        return dumped
    if isinstance(value, BaseModel | Mapping):
        return _read((), value, dumped, [], is_secret=False) if dumped else dumped
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, SecretBytes):
        return value.get_secret_value().decode("utf-8", "surrogateescape")
    if isinstance(value, set | frozenset) and isinstance(dumped, list):
        # Python orders text in sets anew in every process; the hash must be the same in all of them.
        return sorted(dumped, key=canonical)
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_revealed(item, each) for item, each in zip(value, dumped, strict=True)]
    return dumped
