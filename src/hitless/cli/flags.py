"""Command-line flags made from the settings' own fields: every key of the configuration file is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Given = Mapping[str, Any]


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of `model` with its dots, tables opened."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


def flag(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")


def with_flags(
    command: Callable[..., None], model: type[BaseModel], *, leave_out: frozenset[str] = frozenset()
) -> Callable[..., None]:
    """`command(**own, given)` with one option per key of `model`; `given` holds those that were used, by key."""
    fields = {key.replace(".", "__"): (key, info) for key, info in keys(model) if key not in leave_out}

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
    panel = key.partition(".")[0].capitalize() if "." in key else "Service"
    if info.annotation is bool:
        name = f"{flag(key)}/--no-{key.replace('.', '-').replace('_', '-')}"
        return Annotated[bool | None, typer.Option(name, help=info.description, rich_help_panel=panel)]
    kind = list[str] if _is_many(info) else str
    metavar = "KEY=VALUE" if get_origin(info.annotation) is dict else "VALUE"
    return Annotated[
        kind | None, typer.Option(flag(key), help=info.description, rich_help_panel=panel, metavar=metavar)
    ]


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
