"""`hitless status | diff | history | metrics`: look at a running service; nothing moves."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hitless.change import Difference, ExitCode
from hitless.cli.changes import AsJson, Name
from hitless.cli.output import console, errors, print_json
from hitless.control import ControlClient, find, services

REFRESH_S = 1.0


def add_to(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(diff)
    app.command()(history)
    app.command()(metrics)
    app.command("services")(list_services)


def status(
    name: Name = None,
    watch: Annotated[bool, typer.Option("--watch", help="show it live, until Ctrl-C")] = False,
    connections: Annotated[int, typer.Option("--connections", help="connections listed per worker")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show generations, workers, connections, and what each drain waits for."""
    with ControlClient(find(name)) as service:
        params = {"connections": connections}
        if not watch:
            answer: Any = service.call("status", params)
            if as_json:
                print_json(answer)
            else:
                console().print(_status(answer))
            return
        with Live(console=console(), auto_refresh=False) as live:
            while True:
                live.update(_status(service.call("status", params)), refresh=True)
                time.sleep(REFRESH_S)


def _status(answer: Any) -> RenderableType:
    head = Text(f"{answer['name']}  pid {answer['pid']}  generation {answer['generation']}", style="bold")
    head.append(f"  on {', '.join(answer['addresses']) or 'no address'}", style="not bold")
    lines: list[RenderableType] = [head]
    if answer["busy"]:
        lines.append(Text(f"{answer['busy']} is in progress", style="yellow"))
    last = answer["last_outcome"]
    if last and last["reason"]:
        lines.append(Text(f"last change {last['status']} ({last['reason']}): {last['message']}", style="red"))
    if answer["restart_delay_s"]:
        lines.append(
            Text(
                f"{answer['recent_crashes']} workers died in the last minute;"
                f" the next is started after {answer['restart_delay_s']:g} s",
                style="red",
            )
        )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("generation", "state", "worker", "pid", "connections", "in flight", "requests", "age"):
        table.add_column(column, justify="left" if column in ("generation", "state") else "right")
    for generation in answer["generations"]:
        _add_workers(table, generation)
    lines.append(table)
    for drain in answer["drains"]:
        lines += _drain(drain)
    return Group(*lines)


def _add_workers(table: Table, generation: Any) -> None:
    state = generation["state"]
    if not generation["workers"]:
        note = "kept for rollback" if generation["template_pid"] else state
        table.add_row(str(generation["number"]), note, "", "", "", "", "", "")
    for worker in generation["workers"]:
        shown = worker["state"] if worker["answers"] else f"{worker['state']} (busy)"
        table.add_row(
            str(generation["number"]),
            shown,
            *(str(worker[key]) for key in ("worker", "pid", "connections", "in_flight", "requests")),
            f"{worker['age_s']:.0f} s",
        )


def _drain(drain: Any) -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text(
            f"generation {drain['generation']} drains ({drain['why']}): {drain['workers_left']} workers left,"
            f" deadline in {drain['deadline_s']:.0f} s",
            style="yellow",
        )
    ]
    for worker in drain["workers"]:
        for each in worker["waits_for"]:
            lines.append(Text(f"  worker {worker['worker']} waits for {_waits_for(each)}"))
    return lines


def _waits_for(connection: Any) -> str:
    """Who it is, what is asked for, and since when."""
    what = f"{connection['method'] or ''} {connection['path'] or ''}".strip() or connection["state"]
    since = connection["in_flight_s"] if connection["in_flight_s"] is not None else connection["age_s"]
    return f"{connection['peer'] or 'a client on a Unix socket'}: {what}, {since:.0f} s"


def diff(name: Name = None, as_json: AsJson = False) -> None:
    """Show what a reload would change, without doing anything."""
    with ControlClient(find(name)) as service:
        answer: Any = service.call("diff")
    if as_json:
        print_json(answer)
    refused = answer.get("refused")
    if refused is not None:
        if not as_json:
            errors().print(refused["message"], markup=False)
        raise typer.Exit(int(ExitCode.INVALID if refused["invalid"] else ExitCode.REJECTED))
    if not as_json:
        for line in answer["lines"]:
            console().print(line, markup=False)


def history(
    name: Name = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="rows, newest first")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show every attempted change: who asked, what differed, how it ended."""
    with ControlClient(find(name)) as service:
        rows: Any = service.call("history", {"limit": limit})
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("when", "change", "asked by", "generation", "outcome", "what"):
        table.add_column(column)
    for row in rows:
        table.add_row(*_history_row(row))
    console().print(table)


def _history_row(row: Any) -> list[str]:
    plan = row["plan"]
    differences = "; ".join(
        str(Difference(each["key"], each["old"], each["new"])) for each in plan["differences"]
    )
    return [
        datetime.fromtimestamp(row["at"]).astimezone().isoformat(" ", "seconds"),
        plan["kind"],
        row["requested_by"],
        f"{plan['from_generation']} → {plan['to_generation']}",
        f"{row['status']}" + (f" ({row['reason']})" if row["reason"] else ""),
        (row["message"] or "").splitlines()[0] if row["reason"] else differences,
    ]


def metrics(name: Name = None, as_json: AsJson = False) -> None:
    """Print the service's figures as Prometheus text."""
    with ControlClient(find(name)) as service:
        figures: Any = service.call("metrics")
    if as_json:
        print_json(figures)
        return
    from hitless.serve.exposition import exposition

    typer.echo(exposition(figures), nl=False)


def list_services(as_json: AsJson = False) -> None:
    """List the services of this user that run on this machine."""
    found = [each for each in services() if each.alive]
    if as_json:
        print_json([{"name": each.name, "control": str(each.path)} for each in found])
        return
    for each in found:
        console().print(f"{each.name}  {each.path}", markup=False)
