"""`hitless reload | rollback | scale | stop`: ask a running service to change, and tell how it went."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hitless.change import JSON, Difference, Outcome
from hitless.cli.output import console, errors, print_json
from hitless.control import ControlClient, find

Name = Annotated[
    str | None,
    typer.Argument(help="name of the service, or path of its control socket; not needed if only one runs"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", help="deadline of the change, in seconds; start.timeout bounds it as well"),
]

CHANGE_S = 3600.0
"""How long a command waits for the outcome of a change that has no deadline of its own on the command line."""

MARGIN_S = 15.0
"""More than the service's own deadline, so that its answer arrives."""


def add_to(app: typer.Typer) -> None:
    app.command()(reload)
    app.command()(rollback)
    app.command(cls=_Scale)(scale)
    app.command()(upgrade)
    app.command()(stop)


class _Scale(TyperCommand):
    """Its usage is written by hand: no framework knows of an optional argument before a required one."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return ["[OPTIONS]", "[NAME]", "WORKERS"]


def reload(
    name: Name = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="return when the reload has begun")] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="new processes, even if all could be changed inside the running ones"),
    ] = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Build a new generation from the configuration and code as they are now; swap if it is good."""
    params = {"timeout": timeout, "wait": not no_wait, "restart": restart or None}
    _change("reload", name, params, timeout_s=timeout, as_json=as_json)


def rollback(name: Name = None, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """Bring back the generation before the current one."""
    _change("rollback", name, {"timeout": timeout}, timeout_s=timeout, as_json=as_json)


def scale(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME] WORKERS", help="name of the service if several run, and how many workers"
        ),
    ],
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Run WORKERS worker processes; the code stays what it is. The next reload takes the configured number again."""
    *names, workers = what
    if len(names) > 1 or not workers.isdecimal():
        raise typer.BadParameter("say how many workers: hitless scale NAME WORKERS")
    name = names[0] if names else None
    _change("scale", name, {"workers": int(workers), "timeout": timeout}, timeout_s=timeout, as_json=as_json)


def upgrade(
    name: Name = None,
    python: Annotated[
        str | None, typer.Option("--python", help="interpreter to go on with; the same one if not given")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replace the supervisor itself by the Hitless that is installed now: same process, nothing is closed."""
    where = find(name)
    with ControlClient(where) as service:
        answer: Any = service.call(
            "upgrade", {} if python is None else {"python": str(Path(python).absolute())}, timeout_s=CHANGE_S
        )
    outcome = Outcome.from_json(answer["outcome"])
    if outcome.is_good:
        with ControlClient(where) as service:  # answered by the new program
            answer["now"] = service.call("ping")
    if as_json:
        print_json(answer)
    elif outcome.is_good:
        console().print(f"hitless {answer['now']['version']} goes on as pid {answer['now']['pid']}")
    else:
        _tell(outcome, answer)
    if not outcome.is_good:
        raise typer.Exit(int(outcome.exit_code))


def stop(
    name: Name = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", help="seconds to finish what is in flight; drain.timeout if not given"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Stop accepting, finish what is in flight, exit."""
    params: dict[str, JSON] = {} if timeout is None else {"timeout": timeout}
    with ControlClient(find(name)) as service:
        report: Any = service.call("stop", params, timeout_s=CHANGE_S)
    if as_json:
        print_json(report)
    elif report["cut"] or report["killed"]:
        errors().print(
            f"stopped; {report['cut']} connections were cut at the deadline, {report['killed']} workers killed"
        )
    else:
        console().print(f"stopped in {report['seconds']:.2f} s; nothing was cut")
    if report["cut"] or report["killed"]:
        raise typer.Exit(4)


def _change(
    method: str, name: str | None, params: Mapping[str, JSON], *, timeout_s: float | None, as_json: bool
) -> None:
    given = {key: value for key, value in params.items() if value is not None}
    out = console()

    def follow(event: str, fields: Mapping[str, JSON]) -> None:
        if not as_json and event == "change.started":
            for row in fields.get("differences") or ():  # type: ignore[union-attr]
                out.print(f"  {_difference(row)}", markup=False)
            if fields.get("how"):
                out.print(f"  {fields['how']}: {fields['why']}", markup=False)

    with ControlClient(find(name)) as service:
        answer: Any = service.call(
            method, given, timeout_s=CHANGE_S if timeout_s is None else timeout_s + MARGIN_S, on_event=follow
        )
    if as_json:
        print_json(answer)
    if answer.get("outcome") is None:
        if not as_json:
            out.print(answer["message"])
        return
    outcome = Outcome.from_json(answer["outcome"])
    if not as_json:
        _tell(outcome, answer)
    if not outcome.is_good:
        raise typer.Exit(int(outcome.exit_code))


def _tell(outcome: Outcome, answer: Mapping[str, Any]) -> None:
    if outcome.is_good:
        console().print(f"[bold green]{outcome.status}[/]: {outcome.message}")
        for drain in answer["drains"]:
            console().print(
                f"generation {drain['generation']} drains: {_users(drain)},"
                f" at most {drain['deadline_s']:.0f} s (hitless status shows what it waits for)"
            )
        return
    out = errors()
    out.print(f"[bold red]{outcome.status}[/] ({outcome.reason})")
    out.print(outcome.message, markup=False)
    if outcome.detail:
        out.print(outcome.detail.rstrip(), markup=False, style="dim")
    out.print(f"generation {outcome.generation} still serves")


def _users(drain: Mapping[str, Any]) -> str:
    """What it waits for: the processes of a service, the leases of a live program."""
    return f"{drain['leases']} leases" if "leases" in drain else f"{drain['workers']} workers"


def _difference(row: Any) -> str:
    return str(Difference(row["key"], row["old"], row["new"]))
