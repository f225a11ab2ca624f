"""`hitless status | diff | history | metrics`: look at a running service; nothing moves."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any, Literal

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hitless.change import Difference, ExitCode
from hitless.cli.changes import AsJson, Name
from hitless.cli.live_view import live_drain, live_reports, live_view
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
    where = find(name)

    def ask() -> Any:
        with ControlClient(where) as service:  # a new one each time: an upgrade of the service ends them
            return service.call("status", {"connections": connections})

    if not watch:
        answer = ask()
        if as_json:
            print_json(answer)
        else:
            console().print(_status(answer))
        return
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            live.update(_status(ask()), refresh=True)
            time.sleep(REFRESH_S)


def _status(answer: Any) -> RenderableType:
    head = Text(f"{answer['name']}  pid {answer['pid']}  generation {answer['generation']}", style="bold")
    is_live = answer.get("kind") == "live"
    if answer["addresses"]:
        head.append(f"  on {', '.join(answer['addresses'])}", style="not bold")
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
    if is_live:
        return Group(*lines, *live_view(answer))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("generation", "state", "worker", "pid", "open", "in flight", "requests", "age"):
        justify: Literal["left", "right"] = "left" if column in ("generation", "state") else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    for generation in answer["generations"]:
        _add_workers(table, generation)
    lines.append(table)
    for generation in answer["generations"]:
        if not generation["workers"] and generation["template_pid"]:
            lines.append(Text(f"generation {generation['number']} is kept for rollback", style="dim"))
        for worker in generation["workers"]:
            for drain in worker.get("live_drains", ()):
                lines += live_drain(drain, f"worker {worker['worker']}, settings: ")
            lines += live_reports(worker.get("live_reports", {}))
    for drain in answer["drains"]:
        lines += _drain(drain)
    return Group(*lines)


def _add_workers(table: Table, generation: Any) -> None:
    state = generation["state"]
    if not generation["workers"] and not generation["template_pid"]:
        table.add_row(str(generation["number"]), state, "", "", "", "", "", "")
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
    heads = ["#", "when", "change", "generation", "asked by", "outcome"]
    cells = [_history_row(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    out = console()

    def line(row: list[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    out.print(line(heads), style="dim")
    for row, shown in zip(rows, cells, strict=True):
        out.print(line(shown), markup=False, style=None if row["reason"] is None else "red")
        for each in _history_more(row):
            out.print(f"  {each}", markup=False)


def _history_row(row: Any) -> list[str]:
    plan = row["plan"]
    return [
        str(row["id"]),
        f"{datetime.fromtimestamp(row['at']).astimezone():%Y-%m-%d %H:%M:%S}",
        plan["kind"],
        f"{plan['from_generation']} → {plan['to_generation']}",
        row["requested_by"],
        f"{row['status']}" + (f" ({row['reason']})" if row["reason"] else ""),
    ]


def _history_more(row: Any) -> list[str]:
    """Lines below a row: what differed, whether it took new processes and why, and why it was refused."""
    differences = [
        str(Difference(each["key"], each["old"], each["new"])) for each in row["plan"]["differences"]
    ]
    how = row["plan"].get("how")
    made = [f"{how}: {row['plan']['why']}"] if how else []
    return [*differences, *made, *((row["message"] or "").splitlines() if row["reason"] else ())]


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
