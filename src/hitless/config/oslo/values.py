"""Values of oslo.config options: their own types check them, and pydantic holds the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from oslo_config import cfg, types
from pydantic import BeforeValidator, SecretStr

from hitless.config.ini import Multi

WRONG: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What types raise on values that they do not take; they were written for text."""


def annotation_of(option: cfg.Opt) -> Any:
    """What the setting of this option is in a pydantic model."""
    bare: Any = _python_type(option.type)
    if option.secret:
        bare = list[SecretStr] if _is_list(option) else SecretStr
    elif option.multi:
        bare = list[bare]
    if not option.required:
        bare = bare | None
    marks: tuple[Any, ...] = (BeforeValidator(_Check(option), json_schema_input_type=str),)
    if option.multi:
        marks = (*marks, Multi())
    return Annotated[(bare, *marks)]


def default_of(option: cfg.Opt) -> Any:
    """The default as the setting has it. One with references stays text: what it stands for is in the file."""
    if option.default is None or has_reference(option.default):
        return option.default
    # The type alone, as oslo.config does: there are defaults of 20.0 for whole numbers.
    given = [option.type(each) for each in option.default] if option.multi else option.type(option.default)
    found = given if _is_plain(given) else str(option.default)
    if not option.secret:
        return found
    found = _as_text(found)
    return [SecretStr(each) for each in found] if isinstance(found, list) else SecretStr(found)


def has_reference(default: object) -> bool:
    """Whether the default names other options: `$state_path/volumes`."""
    if isinstance(default, str):
        return "$" in default
    if isinstance(default, dict):
        return any(has_reference(each) for each in (*default, *default.values()))
    return isinstance(default, list | tuple) and any(has_reference(each) for each in default)


@dataclass(frozen=True, slots=True)
class _Check:
    """What the option's type makes of a value. A secret is in no message."""

    option: cfg.Opt

    def __call__(self, value: Any) -> Any:
        option = self.option
        if value is None or isinstance(value, SecretStr):
            return value
        if option.multi:
            if not isinstance(value, list | tuple):
                raise ValueError("expected a list")
            found: Any = [self._one(each) for each in value]
        else:
            found = self._one(value)
        return _as_text(found) if option.secret else found

    def _one(self, value: Any) -> Any:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        kind = self.option.type
        try:
            if not _is_text_for(kind, value):
                raise TypeError("another type")
            found = kind(value)
            if found is None and self.option.default is not None:
                raise ValueError("it is empty")  # oslo.config takes an empty number for none at all
        except WRONG as error:
            raise ValueError(_expectation(self.option, error)) from None
        return found if _is_plain(found) else str(value)


def _as_text(value: Any) -> Any:
    """What a `SecretStr` is made of; other types are not kept for secrets."""
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return None if value is None else str(value)


def _is_list(option: cfg.Opt) -> bool:
    return bool(option.multi) or isinstance(option.type, types.List)


def _python_type(kind: Callable[[Any], Any]) -> Any:
    match kind:
        case types.Boolean():
            return bool
        case types.Number():
            return kind.num_type
        case types.List():
            return list[_python_type(kind.item_type)]  # type: ignore[misc]
        case types.Dict():
            return dict[str, _python_type(kind.value_type)]  # type: ignore[misc]
        case types.ConfigType() if not isinstance(kind, types.Range):
            return str
        case _:
            return Any


def _is_text_for(kind: Callable[[Any], Any], value: Any) -> bool:
    """Whether a value that is not text, from TOML or YAML, is of the kind that the option has."""
    match kind:
        case types.Boolean():
            return isinstance(value, str | bool)
        case types.Integer():
            return isinstance(value, str | int) and not isinstance(value, bool)
        case types.Number():
            return isinstance(value, str | int | float) and not isinstance(value, bool)
        case types.List():
            return isinstance(value, str | list | tuple)
        case types.Dict():
            return isinstance(value, str | dict)
        case types.ConfigType() if not isinstance(kind, types.Range):
            return isinstance(value, str)
        case _:
            return True


def _expectation(option: cfg.Opt, error: BaseException) -> str:
    kind = option.type
    match kind:
        case types.Boolean():
            return "expected true or false"
        case types.Number():
            return f"expected {_number(kind)}"
        case types.String() if kind.choices:
            return f"expected one of {', '.join(repr(each) for each in kind.choices)}"
    if option.secret or not error.args:
        return f"expected a {getattr(kind, 'type_name', 'value of another type')}"
    return str(error.args[0] if len(error.args) == 1 else error)


def _number(kind: types.Number) -> str:
    name = "a whole number" if kind.num_type is int else "a number"
    if kind.choices:
        return f"one of {', '.join(str(each) for each in kind.choices)}"
    bounds = (
        f"at least {kind.min:g}" if kind.min is not None else "",
        f"at most {kind.max:g}" if kind.max is not None else "",
    )
    limits = " and ".join(each for each in bounds if each)
    return f"{name} of {limits}" if limits else name


def _is_plain(value: Any) -> bool:
    """Whether it can be written down and read again; what a type of its own makes of text may be anything."""
    match value:
        case list():
            return all(_is_plain(each) for each in value)
        case dict():
            return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
        case None | bool() | int() | float() | str():
            return True
        case _:
            return False
