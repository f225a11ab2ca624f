"""What a maker's parameters ask for, read from its annotations when they can be."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from hitless.live.inputs import Each, EachKey, Marker, Needs, Setting


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    annotation: Any
    """Without its marker; `inspect.Parameter.empty` if there is none."""
    marker: Marker | None
    has_default: bool


class Signature:
    """Annotations may name types that are defined later, or only where the resource is declared: they are read at
    once if that goes, and otherwise when the runtime starts.
    """

    def __init__(self, maker: Callable[..., Any], frame: FrameType) -> None:
        self._maker: Final = maker
        self._target: Final = maker.__init__ if inspect.isclass(maker) else maker
        self._hints: Mapping[str, Any] | None = None
        with suppress(NameError):
            self._hints = self._read(frame.f_locals)

    def parameters(self) -> tuple[Parameter, ...]:
        """What is asked for, in order.

        Raises:
            NameError: an annotation names something that does not exist.
        """
        if self._target is object.__init__:
            return ()
        found = list(inspect.signature(self._maker).parameters.values())
        fitting = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return tuple(self._parameter(each) for each in found if each.kind in fitting)

    def result(self) -> Any:
        return self._resolved().get("return")

    def _parameter(self, parameter: inspect.Parameter) -> Parameter:
        hint = self._resolved().get(parameter.name, parameter.annotation)
        has_default = parameter.default is not parameter.empty
        if get_origin(hint) is Annotated:
            bare, *metadata = get_args(hint)
            marker = next(
                (each for each in metadata if isinstance(each, Setting | Needs | Each | EachKey)), None
            )
            return Parameter(parameter.name, bare, marker, has_default)
        return Parameter(parameter.name, hint, None, has_default)

    def _resolved(self) -> Mapping[str, Any]:
        if self._hints is None:
            module = sys.modules.get(self._maker.__module__)
            self._hints = self._read(vars(module) if module else {})
        return self._hints

    def _read(self, names: Mapping[str, Any]) -> Mapping[str, Any]:
        # A class may need another instance of itself, and has no name yet while it is declared.
        known = {self._maker.__name__: self._maker, **names}
        return get_type_hints(self._target, localns=known, include_extras=True)
