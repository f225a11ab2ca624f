"""Command-line flags made from the settings' own fields: every key of the configuration file is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.markup import escape

from hitless.config.schema import item_of, section_of, strip

Given = Mapping[str, Any]
_PANELS = {"": "Service", "tls": "TLS"}


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of `model` with its dots, tables opened. Lists of tables are for files: nobody writes those as a flag."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{prefix}{name}.")
        elif not _holds_tables(kind):
            yield f"{prefix}{name}", info


def _holds_tables(annotation: Any) -> bool:
    item, _ = strip(item_of(annotation))
    return any(section_of(each) is not None for each in get_args(item) or (item,))


def flag(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")


def choices(info: FieldInfo) -> tuple[str, ...]:
    """The values that there are, if they can be counted up."""
    return tuple(get_args(info.annotation)) if get_origin(info.annotation) is Literal else ()


def default(info: FieldInfo) -> str | None:
    """The value without the flag, as one would write it; None if it is not set."""
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | dict):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_flags(
    command: Callable[..., None], model: type[BaseModel], *, without: Collection[str] = ()
) -> Callable[..., None]:
    """`command(**own, given)` with one option per key of `model`; `given` holds those that were used, by key. `without`
    names keys, or tables, that mean nothing to it.
    """
    fields = {
        key.replace(".", "__"): (key, info)
        for key, info in keys(model)
        if key not in without and key.partition(".")[0] not in without
    }

    def run(**values: Any) -> None:
        given = {}
        for parameter, (key, info) in fields.items():
            value = values.pop(parameter)
            if value is not None and value != []:
                given[key] = _text(value, info)
        command(given=given, **values)

    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name != "given"
    ]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(key, info)
        )
        for name, (key, info) in fields.items()
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + added
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _annotation(key: str, info: FieldInfo) -> Any:
    panel = _PANELS.get(table := key.rpartition(".")[0], table.capitalize())
    about = escape(_help(info))
    if info.annotation in (bool, bool | None):
        name = f"{flag(key)}/--no-{key.replace('.', '-').replace('_', '-')}"
        return Annotated[bool | None, typer.Option(name, help=about, rich_help_panel=panel)]
    kind = list[str] if _is_many(info) else str
    metavar = "KEY=VALUE" if get_origin(info.annotation) is dict else "VALUE"
    return Annotated[kind | None, typer.Option(flag(key), help=about, rich_help_panel=panel, metavar=metavar)]


def _help(info: FieldInfo) -> str:
    *most, last = choices(info) or ("",)
    usual = default(info)
    notes = (f"{', '.join(most)} or {last}" if most else "", f"default: {usual}" if usual else "")
    said = "; ".join(note for note in notes if note)
    return f"{info.description} ({said})" if said else f"{info.description}"


def _is_many(info: FieldInfo) -> bool:
    return get_origin(info.annotation) in (tuple, dict)


def _text(value: Any, info: FieldInfo) -> Any:
    if isinstance(value, bool):
        return value
    if get_origin(info.annotation) is dict:
        return dict(_pair(item) for item in value)
    return list(value) if isinstance(value, list | tuple) else value


def _pair(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise typer.BadParameter(f"{item!r}: write KEY=VALUE")
    return name, value
