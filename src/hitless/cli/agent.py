"""`hitless agent check | plan | plugins | run`: look at polling and pipeline files, and run an agent on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hitless.change import ExitCode
from hitless.cli import agent_group
from hitless.cli.output import console, errors, print_json
from hitless.config import ConfigError, Problem

if TYPE_CHECKING:
    from hitless.agent.checking import Check
    from hitless.agent.notifications.settings import Notifications
    from hitless.agent.reading import Reading

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="polling.yaml, pipeline.yaml, event_pipeline.yaml, a directory of them, or agent.toml",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
FormatOnly = Annotated[
    bool,
    typer.Option("--format-only", help="do not ask whether pollsters and publishers are installed here"),
]
Reach = Annotated[bool, typer.Option("--reach", help="ask whether each publisher can be reached from here")]
Config = Annotated[str, typer.Option("--config", "-c", help="configuration file")]
Writable = Annotated[bool, typer.Option("--allow-writable", help="accept files that others may write")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        help="Poll and publish by pipelines that change while the agent runs; check them before.",
    )
    for command in (check, plan, plugins, run):
        group.command()(command)
    agent_group.add_to(group)
    app.add_typer(group, name="agent")


def check(
    files: Files,
    format_only: FormatOnly = False,
    reach: Reach = False,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Check files by the code that the agent runs, and say all that is wrong."""
    reading, found, notified = _checked(
        files, format_only=format_only, allow_writable=allow_writable, as_json=as_json
    )
    if reach:
        _reach(reading, found, as_json=as_json)
    definition = reading.definition
    sizes = {
        "polling sources": len(definition.polling),
        "pipelines": len(list(definition.pipelines())),
        "publishers": len(definition.publishers),
    }
    if notified.listeners:
        sizes["listeners"] = len(notified.listeners)
        sizes["meter definitions"] = len(notified.conversion.meters)
        sizes["event definitions"] = len(notified.conversion.events)
    if as_json:
        print_json(
            {"valid": True, "hash": reading.hash, "problems": [], "warnings": _json(found.warnings), **sizes}
        )
        return
    _tell(found.warnings, "warning: ")
    counted = ", ".join(f"{number} {what}" for what, number in sizes.items())
    console().print(f"the definition is valid ({reading.hash[:12]}): {counted}", markup=False)


def plan(
    old: Annotated[str, typer.Argument(help="file or directory as it is")],
    new: Annotated[str, typer.Argument(help="file or directory as it would be")],
    format_only: FormatOnly = False,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Show what going from OLD to NEW would start, replace, leave alone and stop."""
    # What runs already needs no check of its plug-ins: they may be what was just uninstalled.
    before, _, notified_before = _checked(
        [old], format_only=True, allow_writable=allow_writable, as_json=as_json
    )
    after, found, notified_after = _checked(
        [new], format_only=format_only, allow_writable=allow_writable, as_json=as_json
    )
    from hitless.agent.comparison import compare

    comparison = compare(before.definition, after.definition, notifications=(notified_before, notified_after))
    if as_json:
        hashes = {"old_hash": before.hash, "new_hash": after.hash}
        print_json({"valid": True, **hashes, "warnings": _json(found.warnings), **comparison.to_json()})
        return
    _tell(found.warnings, "warning: ")
    for line in comparison.lines():
        console().print(line, markup=False)


def plugins(as_json: AsJson = False) -> None:
    """List the pollsters, discoveries, publishers and transformers that there are on this machine."""
    _import()
    from hitless.agent.plugins import BUILT_IN, Plugins

    found = Plugins()
    named = {group.partition(".")[2]: found.names(group) for group in BUILT_IN}
    if as_json:
        print_json({kind: list(names) for kind, names in named.items()})
        return
    for kind, names in named.items():
        console().print(f"{kind}: {', '.join(names) or 'none'}", markup=False)


def run(
    config: Config = "agent.toml",
    allow_writable: Writable = False,
    unsupervised: Annotated[
        bool, typer.Option("--unsupervised", help="in this process: nobody restarts it or changes its code")
    ] = False,
) -> None:
    """Poll and publish until SIGTERM; SIGHUP or hitless reload takes the files, and the code, as they are then."""
    _import()
    from hitless.agent.group.coordinator import GroupError, NoPlace
    from hitless.agent.group.places import coordinator
    from hitless.agent.main import run as run_agent
    from hitless.agent.main import supervise
    from hitless.agent.settings import read_settings
    from hitless.live import StartFailed

    try:
        settings = read_settings(config, allow_writable=allow_writable)
        if unsupervised:
            run_agent(settings, config, allow_writable=allow_writable)
            return
        if settings.group is not None:
            coordinator(
                settings.group
            )  # it says what is wrong before anything is started; nothing is connected
        else:
            _checked(settings.files, format_only=False, allow_writable=allow_writable, as_json=False)
        supervise(config, settings, allow_writable=allow_writable)
    except GroupError as error:
        errors().print(f"hitless: {error}", markup=False)
        raise typer.Exit(int(ExitCode.INVALID if isinstance(error, NoPlace) else ExitCode.NOBODY)) from error
    except ConfigError as error:
        _tell(error.problems)
        raise typer.Exit(int(ExitCode.INVALID)) from error
    except StartFailed as error:
        errors().print(str(error), markup=False)
        raise typer.Exit(int(ExitCode.INVALID if error.outcome.invalid else ExitCode.FAILED)) from error


def _checked(
    paths: Sequence[str], *, format_only: bool, allow_writable: bool, as_json: bool
) -> tuple[Reading, Check, Notifications]:
    """Raises typer.Exit with code 2 when something is wrong, after saying what."""
    _import()
    from hitless.agent.checking import Check, check
    from hitless.agent.notifications.settings import together
    from hitless.agent.plugins import Plugins
    from hitless.agent.reading import read
    from hitless.agent.settings import named_by

    plugins = None if format_only else Plugins()
    try:
        named = named_by(paths, allow_writable=allow_writable)
        reading = read(named.files, allow_writable=allow_writable)
        notified = together(named.notifications, plugins=plugins, allow_writable=allow_writable)
    except ConfigError as error:
        _refuse(Check(error.problems, ()), as_json=as_json)
    found = Check((), ()) if plugins is None else check(reading, plugins)
    if found.problems:
        _refuse(found, as_json=as_json)
    return reading, found, notified


def _refuse(found: Check, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"valid": False, "problems": _json(found.problems), "warnings": _json(found.warnings)})
    else:
        _tell(found.problems)
    raise typer.Exit(int(ExitCode.INVALID))


def _reach(reading: Reading, found: Check, *, as_json: bool) -> None:
    """Raises typer.Exit with code 1 when the files are valid and a publisher cannot be reached, after saying which."""
    from hitless.agent.plugins import Plugins
    from hitless.agent.reaching import unreachable

    problems = unreachable(reading, Plugins())
    if not problems:
        return
    if as_json:
        print_json({"valid": True, "problems": _json(problems), "warnings": _json(found.warnings)})
    else:
        _tell(problems)
    raise typer.Exit(int(ExitCode.FAILED))


def _tell(problems: Sequence[Problem], before: str = "") -> None:
    for each in problems:
        errors().print(f"{before}{each}", markup=False)


def _json(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{"where": each.where, "key": each.key, "message": each.message} for each in problems]


def _import() -> None:
    """Raises typer.Exit: the extra is not installed."""
    try:
        import psutil  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError as error:
        errors().print(
            f"hitless: the agent needs {error.name}; install it with: pip install 'hitless[agent]'",
            markup=False,
        )
        raise typer.Exit(int(ExitCode.FAILED)) from error
