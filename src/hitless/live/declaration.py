"""One declared resource: what makes it, what it asks for, and how it may change. Nothing has been run yet."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from dataclasses import dataclass, field
from enum import Enum, auto
from types import FrameType
from typing import Any, Final, TypedDict, get_args, get_origin

from hitless.live.signature import Parameter, Signature
from hitless.live.timeouts import Quiesce, Timeouts

YIELDING: Final = (Iterator, Generator, Iterable, AsyncIterator, AsyncGenerator, AsyncIterable)


class Style(Enum):
    """How the maker is run."""

    PLAIN = auto()
    """A function or class, called in a thread."""
    COROUTINE = auto()
    GENERATOR = auto()
    """Builds, yields, closes; each step in a thread."""
    ASYNC_GENERATOR = auto()


class Role(Enum):
    """What the declaration is for."""

    RESOURCE = "resource"
    DERIVED = "derived"
    """A value computed from settings and resources."""
    CACHE = "cache"
    """Results of calls, forgotten when what they were computed from changes."""


class Options(TypedDict, total=False):
    """What `@runtime.resource` takes besides the function or class."""

    name: str
    """Instead of the name of the function or class."""
    per: str
    """Dotted path of a mapping in the settings: one instance for each of its keys."""
    exclusive: str
    """What only one instance can have at a time, as in `"port:{port}"`; `{parameter}` stands for an input."""
    quiesce: Quiesce
    """Stop the old before the new starts, and how; the default of exclusive resources is `Quiesce()`."""
    timeouts: Timeouts
    close: Callable[[Any], object]
    """Called with the object; the method `aclose` or `close` of a class by default."""
    update: Callable[..., object]
    """Called with the object and by name those inputs that its parameters name; the method `update` by default."""
    adopt: Callable[[Any, Any], object]
    """Called with the new and the old object just before the swap; the method `adopt` by default."""
    warm: Callable[[Any], object]
    """Called with the new object: it is healthy unless this raises or returns False; the method `warm` by default."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the program."""

    file: str
    line: int

    @classmethod
    def of(cls, frame: FrameType) -> Place:
        return cls(frame.f_code.co_filename, frame.f_lineno)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """One resource as the program declared it."""

    name: str
    maker: Callable[..., Any]
    style: Style
    signature: Signature
    place: Place
    role: Role = Role.RESOURCE
    per: str | None = None
    exclusive: str | None = None
    quiesce: Quiesce | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    close: Callable[[Any], object] | None = None
    update: Callable[..., object] | None = None
    updatable: frozenset[str] = frozenset()
    """Inputs that `update` takes; a change of any other one means a rebuild."""
    adopt: Callable[[Any, Any], object] | None = None
    warm: Callable[[Any], object] | None = None

    def parameters(self) -> tuple[Parameter, ...]:
        return self.signature.parameters()

    def provides(self) -> Any:
        """The type by which others find it; None if it has none that says anything: `str` is everybody's."""
        found = self._provides()
        return None if inspect.isclass(found) and found.__module__ == "builtins" else found

    def _provides(self) -> Any:
        if self.role is Role.CACHE:
            return None
        if inspect.isclass(self.maker):
            return self.maker
        result = self.signature.result()
        if self.style in (Style.GENERATOR, Style.ASYNC_GENERATOR) and get_origin(result) in YIELDING:
            return get_args(result)[0]
        return result

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"


def declare(
    maker: Callable[..., Any],
    options: Options,
    *,
    frame: FrameType,
    role: Role = Role.RESOURCE,
    asks: Callable[..., Any] | None = None,
) -> Declaration:
    """The declaration of `maker`, made in `frame`; what it asks for is read from the annotations of `asks`, or its own.

    Raises:
        TypeError: an option does not fit it.
    """
    hooks: dict[str, Any] = {
        name: options.get(name) or _method(maker, name) for name in ("update", "adopt", "warm")
    }
    style = _style(maker)
    close = options.get("close") or _method(maker, "aclose") or _method(maker, "close")
    if close is not None and style in (Style.GENERATOR, Style.ASYNC_GENERATOR):
        raise TypeError(f"{maker.__name__} closes after its yield; leave out close=")
    exclusive, quiesce = options.get("exclusive"), options.get("quiesce")
    return Declaration(
        name=options.get("name") or maker.__name__,
        maker=maker,
        style=style,
        signature=Signature(asks or maker, frame),
        place=Place.of(frame),
        role=role,
        per=options.get("per"),
        exclusive=exclusive,
        quiesce=quiesce or (Quiesce() if exclusive is not None else None),
        timeouts=options.get("timeouts") or Timeouts(),
        close=close,
        updatable=_named(hooks["update"]),
        **hooks,
    )


def _style(maker: Callable[..., Any]) -> Style:
    if inspect.isasyncgenfunction(maker):
        return Style.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(maker):
        return Style.GENERATOR
    return Style.COROUTINE if inspect.iscoroutinefunction(maker) else Style.PLAIN


def _method(maker: Callable[..., Any], name: str) -> Callable[..., object] | None:
    return getattr(maker, name, None) if inspect.isclass(maker) else None


def _named(update: Callable[..., object] | None) -> frozenset[str]:
    """The inputs that `update` takes: its parameters after the object itself."""
    if update is None:
        return frozenset()
    return frozenset(list(inspect.signature(update).parameters)[1:])
