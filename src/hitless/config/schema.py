"""What a model asks for: its settings by path, and what shape each of them has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum, auto
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from hitless.config.keys import KeyPath


class Shape(Enum):
    """What text in an environment variable or a flag stands for."""

    TEXT = auto()
    """The text itself."""
    SCALAR = auto()
    """A number."""
    BOOL = auto()
    LIST = auto()
    TABLE = auto()


SHAPES: Final[Mapping[type, Shape]] = {
    bool: Shape.BOOL,
    int: Shape.SCALAR,
    float: Shape.SCALAR,
    list: Shape.LIST,
    tuple: Shape.LIST,
    set: Shape.LIST,
    frozenset: Shape.LIST,
    dict: Shape.TABLE,
    Mapping: Shape.TABLE,
}


def settings_of(model: type[BaseModel], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], FieldInfo]:
    """Every setting of the model that is not itself a table of settings, by path, in the order of the model."""
    found: dict[tuple[str, ...], FieldInfo] = {}
    for name, info in model.model_fields.items():
        section = section_of(info.annotation)
        if section is None:
            found[(*above, name)] = info
        else:
            found.update(settings_of(section, (*above, name)))
    return found


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a table of settings, or None if the annotation is no such table."""
    bare, _ = strip(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None


def strip(annotation: Any, metadata: tuple[Any, ...] = ()) -> tuple[Any, tuple[Any, ...]]:
    """The annotation without Annotated and "or None", and the metadata that was on it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return strip(inner, (*metadata, *more))
    if origin in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        if len(members) == 1:
            return strip(members[0], metadata)
    return annotation, metadata


def is_optional(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def shape_of(annotation: Any, metadata: Collection[Any] = ()) -> Shape:
    """How text is to be read for this annotation. Types that read text themselves (units) are given the text."""
    bare, found = strip(annotation, tuple(metadata))
    if any(isinstance(each, BeforeValidator) for each in found):
        return Shape.TEXT
    origin = get_origin(bare) or bare
    for kind, shape in SHAPES.items():
        if isinstance(origin, type) and issubclass(origin, kind):
            return shape
    return Shape.TEXT


def item_of(annotation: Any) -> Any:
    """The annotation of a list's items or a table's values."""
    bare, _ = strip(annotation)
    items = [each for each in get_args(bare) if each is not Ellipsis]
    return items[-1] if items else str


def model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model whose fields are the keys of the table at `path`, as far as it can be told from annotations."""
    annotation: Any = model
    for part in path:
        section = section_of(annotation)
        if isinstance(part, int) or section is None:
            annotation = item_of(annotation)
        elif part in section.model_fields:
            annotation = section.model_fields[part].annotation
        else:
            return None
    return section_of(annotation)
