"""The settings model of a service: made from its option definitions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from oslo_config import cfg
from pydantic import BaseModel, ConfigDict, Field, create_model

from hitless.config.ini_lines import DEFAULT_SECTION
from hitless.config.oslo.options import Options, OsloOptions, OsloOptionsError
from hitless.config.oslo.values import WRONG, annotation_of, default_of

CONFIG: Final = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def settings_model(options: OsloOptions, name: str) -> type[BaseModel]:
    """Raises OsloOptionsError: a default is not of its option's type."""
    fields = _fields(options, options.sections[DEFAULT_SECTION], above="")
    for section, inside in options.sections.items():
        if section != DEFAULT_SECTION:
            field = options.fields[section]
            table = _table(f"{name}_{field}", _fields(options, inside, above=f"{field}."))
            fields[field] = _whole(table)
    if options.backends is not None:
        field = options.backends.field
        table = _table(f"{name}_{field}", _fields(options, options.of_each_backend(), above=f"{field}."))
        extra: dict[str, Any] = {"reload": options.reload_of_backends()}
        fields[field] = (
            dict[str, table],  # type: ignore[valid-type]
            Field(default_factory=dict, json_schema_extra=extra),
        )
    return _table(name, fields)


def _fields(options: OsloOptions, section: Options, *, above: str) -> dict[str, Any]:
    return {
        dest: (annotation_of(option), _field(option, options.reload_of(above + dest, option), above + dest))
        for dest, option in section.items()
    }


def _field(option: cfg.Opt, reload: str, path: str) -> Any:
    extra: dict[str, Any] = {"reload": reload}
    description = " ".join((option.help or "").split()) or None
    if option.required and option.default is None:
        return Field(description=description, json_schema_extra=extra)
    try:
        default = default_of(option)
    except WRONG as error:
        raise OsloOptionsError(f"the default of {path}: {error}") from None
    return Field(default=default, description=description, json_schema_extra=extra)


def _whole(table: type[BaseModel]) -> tuple[Any, Any]:
    """A table that may be left out. With something required in it, it is None then: libraries also list options of sections
    that a service only looks at when they are there.
    """
    if any(info.is_required() for info in table.model_fields.values()):
        return (table | None, Field(default=None))
    return (table, Field(default_factory=cast("Callable[[], BaseModel]", table)))


def _table(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    with warnings.catch_warnings():
        # Options are called what they are called, `copy` and `schema` among them; the settings shadow the methods.
        warnings.filterwarnings("ignore", message=".*shadows an attribute")
        made: type[BaseModel] = create_model(name, __config__=CONFIG, **fields)
    return made
