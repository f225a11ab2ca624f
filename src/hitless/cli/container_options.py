"""Options that all commands of `hitless containers` share: which containers, which engine, what applies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from hitless.cli.flags import with_flags

PARALLEL: Final = 64


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    all: bool
    engine: str | None
    config: str | None
    allow_writable: bool
    state_dir: str | None
    max_parallel: int
    as_json: bool
    given: Mapping[str, Any]
    """Parameters of the stop, by dotted key, as text."""


def common(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="containers: names, globs or ids")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="those with this label", metavar="KEY[=VALUE]")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="every container that runs")] = False,  # noqa: A002
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="the engine's socket; DOCKER_HOST or the usual ones if not given",
            metavar="ADDRESS",
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", "-c", help="containers.toml here or in /etc/hitless if not given", metavar="FILE"
        ),
    ] = None,
    allow_writable: Annotated[
        bool, typer.Option("--allow-writable", help="accept a configuration file that others may write")
    ] = False,
    state_dir: Annotated[
        str | None,
        typer.Option("--state-dir", help="where is written down what is under way", metavar="PATH"),
    ] = None,
    max_parallel: Annotated[int, typer.Option("--max-parallel", min=1, help="how many at once")] = PARALLEL,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> Options:
    """What these options say together; its signature is their definition."""
    return Options(
        tuple(names or ()), tuple(label or ()), all, engine, config, allow_writable, state_dir, max_parallel,
        as_json, {},
    )  # fmt: skip


def with_common(
    command: Callable[..., None], model: type[Any] | None = None, *, without: Collection[str] = ()
) -> Callable[..., None]:
    """`command(options, **own)` with the shared options before its own, and with `model` one option for each of its
    keys that is not `without`."""
    shared = list(inspect.signature(common, eval_str=True).parameters.values())
    own = [
        each
        for each in inspect.signature(command, eval_str=True).parameters.values()
        if each.name != "options"
    ]

    def run(given: Mapping[str, Any] | None = None, **values: Any) -> None:
        said = common(**{each.name: values.pop(each.name) for each in shared})
        command(options=_with(said, given or {}), **values)

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*shared, *own)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    if model is None:
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run
    return with_flags(run, model, without=without)


def _with(options: Options, given: Mapping[str, Any]) -> Options:
    return Options(
        **{name: getattr(options, name) for name in Options.__slots__ if name != "given"}, given=given
    )
