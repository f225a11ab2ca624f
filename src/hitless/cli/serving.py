"""`hitless serve | check | unit`: start a service, or look at its configuration before it runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hitless.change import ExitCode, Refused
from hitless.cli.flags import with_flags
from hitless.cli.output import console, errors, print_json
from hitless.config import ConfigError, Loaded, explain
from hitless.control import ControlClient, find
from hitless.serve.addresses import addresses
from hitless.serve.main import Request, read
from hitless.serve.settings import ServeSettings
from hitless.serve.unit import unit_file

Config = Annotated[
    str | None,
    typer.Option("--config", "-c", help="configuration file; hitless.toml in this directory if there is one"),
]
Checked = Annotated[
    str | None,
    typer.Argument(
        metavar="APP|NAME",
        help="module:attr, module:factory() or paste:FILE#name; or the name of a service that runs",
    ),
]
Main = Annotated[
    str | None,
    typer.Argument(metavar="MAIN", help="module:function, sync or async; or a module, as python -m runs it"),
]
App = Annotated[
    str | None, typer.Argument(metavar="APP", help="module:attr, module:factory() or paste:FILE#name")
]
Writable = Annotated[
    bool, typer.Option("--allow-writable", help="accept a configuration file that others may write")
]
DEFAULT_FILE = "hitless.toml"
OF_SERVERS = (
    *("interface", "bind", "backlog", "threads", "root_path", "server_name", "forwarded_allow_ips"),
    *("limits", "timeouts", "health", "tls", "log.access", "drain.linger", "drain.stream", "drain.spread"),
)
"""Settings that mean nothing to a program that takes no connections."""


def add_to(app: typer.Typer) -> None:
    for command in (serve, check, unit):
        app.command(command.__name__)(with_flags(command, ServeSettings))
    app.command()(with_flags(run, ServeSettings, without=OF_SERVERS))


def serve(
    given: dict[str, Any], application: App = None, config: Config = None, allow_writable: Writable = False
) -> None:
    """Serve an application; everything about it can be changed while it runs."""
    request = _request(given, application, config, allow_writable)
    _read(request)
    asked = json.dumps(
        {"config": request.config, "flags": dict(request.flags), "allow_writable": allow_writable}
    )
    # The supervisor replaces this process, so that it does not carry the command line's libraries for months.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "hitless.serve", asked])


def run(
    given: dict[str, Any], program: Main = None, config: Config = None, allow_writable: Writable = False
) -> None:
    """Run a program that runs for long; its settings, and everything else about it, can be changed while it runs."""
    if program is not None and ":" not in program:
        program = f"-m {program}"
    serve({**given, "interface": "program"}, program, config, allow_writable)


def check(
    given: dict[str, Any],
    application: Checked = None,
    config: Config = None,
    allow_writable: Writable = False,
    show: Annotated[bool, typer.Option("--explain", help="show each value and where it comes from")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Check the configuration by the code that serve and reload run, and say all that is wrong."""
    if application is not None and ":" not in application:
        if given or config is not None or show:
            raise typer.BadParameter(
                f"{application} is no application (module:attr), and a running service is checked without options"
            )
        _check_running(application, as_json=as_json)
        return
    loaded = _read(_request(given, application, config, allow_writable))
    rows = explain(loaded)
    if as_json:
        print_json(
            {
                "hash": loaded.hash,
                "settings": [{"key": r.key, "value": json.loads(r.value), "origin": r.origin} for r in rows],
            }
        )
        return
    if show:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("key", "value", "from"):
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(row.key, str(row.value), str(row.origin))
        console().print(table)
    console().print(f"the configuration is valid ({loaded.hash[:12]})")


def _check_running(name: str, *, as_json: bool) -> None:
    """Ask a service whether it would take its configuration as it is now; nothing moves."""
    with ControlClient(find(name)) as service:
        answer: Any = service.call("check")
    if as_json:
        print_json(answer)
    refused = answer.get("refused")
    if refused is not None:
        if not as_json:
            errors().print(refused["message"], markup=False)
        raise typer.Exit(int(ExitCode.INVALID if refused["invalid"] else ExitCode.REJECTED))
    if not as_json:
        console().print(f"{name} would take its configuration ({answer['hash'][:12]})", markup=False)


def unit(
    given: dict[str, Any], application: App = None, config: Config = None, allow_writable: Writable = False
) -> None:
    """Print a systemd unit for this service."""
    request = _request(given, application, config, allow_writable)
    loaded = _read(request)
    typer.echo(unit_file(request, loaded.settings, executable=_executable()), nl=False)


def _executable() -> str:
    """How a service manager runs this command."""
    called = Path(sys.argv[0]).absolute()
    return f"{sys.executable} -m hitless" if called.name == "__main__.py" else str(called)


def _request(given: dict[str, Any], app: str | None, config: str | None, allow_writable: bool) -> Request:
    if app is not None and given.get("app", app) != app:
        raise typer.BadParameter(f"the application is said twice: {app} and --app {given['app']}")
    if app is not None:
        given = {**given, "app": app}
    if config is None and Path(DEFAULT_FILE).is_file():
        config = DEFAULT_FILE
    return Request(config, given, allow_writable)


def _read(request: Request) -> Loaded[ServeSettings]:
    try:
        loaded = read(request, os.environ)
        addresses(loaded.settings.addresses, systemd_fds=None)
    except (ConfigError, Refused) as error:
        errors().print(str(error), markup=False)
        raise typer.Exit(int(ExitCode.INVALID)) from error
    return loaded
