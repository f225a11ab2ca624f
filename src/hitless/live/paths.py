"""Settings by dotted path: found in the model when the runtime starts, read from every snapshot after that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias, get_origin

from pydantic import BaseModel

from hitless.config.schema import item_of, section_of, strip

Read: TypeAlias = Callable[[Any], Any]


class NoSuchSetting(Exception):
    """The model has no setting at this path; the message says what was perhaps meant."""


def annotation_at(model: type[BaseModel], path: str) -> Any:
    """The annotation of the setting at `path`; the model itself for an empty path.

    Raises:
        NoSuchSetting: there is none.
    """
    annotation: Any = model
    for part in path.split(".") if path else ():
        section = section_of(annotation)
        if section is None or part not in section.model_fields:
            raise NoSuchSetting(f"there is no setting {path}{_hint(model, path)}")
        annotation = section.model_fields[part].annotation
    return annotation


def reader(path: str) -> Read:
    """Reads the setting at `path` from a snapshot; None below a table that is None."""
    if not path:
        return _whole
    parts = tuple(path.split("."))

    def read(settings: Any) -> Any:
        for part in parts:
            if settings is None:
                return None
            settings = getattr(settings, part)
        return settings

    return read


def _whole(settings: Any) -> Any:
    return settings


def is_mapping(annotation: Any) -> bool:
    bare, _ = strip(annotation)
    origin = get_origin(bare) or bare
    return isinstance(origin, type) and issubclass(origin, Mapping)


def item_model(annotation: Any) -> type[BaseModel] | None:
    """The model of the values of a mapping, if they are tables."""
    return section_of(item_of(annotation))


def tables(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every table of settings with its path, the whole first."""
    yield ".".join(above), model
    for name, info in model.model_fields.items():
        section = section_of(info.annotation)
        if section is not None:
            yield from tables(section, (*above, name))


def _hint(model: type[BaseModel], path: str) -> str:
    known = [
        ".".join(part for part in (table, name) if part)
        for table, section in tables(model)
        for name in section.model_fields
    ]
    close = get_close_matches(path, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
