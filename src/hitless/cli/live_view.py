"""What `hitless status` shows of a live program: generations, what each is used for, and who holds what drains."""

from __future__ import annotations

from typing import Any, Literal

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


def live_view(answer: Any) -> list[RenderableType]:
    """Below the head line: a table of generations, then every drain."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("generation", "state", "resources", "leases", "actions", "age"):
        justify: Literal["left", "right"] = (
            "left" if column in ("generation", "state", "actions") else "right"
        )
        table.add_column(column, justify=justify, no_wrap=True)
    for each in answer["generations"]:
        actions = ", ".join(f"{name} × {count}" for name, count in sorted(each["actions"].items()))
        table.add_row(
            str(each["number"]),
            each["state"],
            str(each["resources"]),
            str(each["leases"]),
            actions,
            f"{each['since_s']:.0f} s",
        )
    lines: list[RenderableType] = [table]
    for each in answer["generations"]:
        for what in ("failed", "missing"):
            if each["state"] == "serving" and each.get(what):
                told = f"{what}: {', '.join(each[what])}; the next reload builds it"
                lines.append(Text(told, style="red"))
    for drain in answer["drains"]:
        lines += live_drain(drain)
    return [*lines, *live_reports(answer.get("reports", {}))]


def live_reports(reports: Any) -> list[RenderableType]:
    """What a program adds to its status, as far as it is known here: an agent's listeners."""
    return [_listeners(reports["listeners"])] if reports.get("listeners") else []


def _listeners(listeners: Any) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("listener", "broker", "state"):
        table.add_column(column, no_wrap=True)
    numbers = ("consumers", "unacked", "received", "redelivered", "dead_lettered")
    for column in numbers:
        table.add_column(column.replace("_", "-"), justify="right", no_wrap=True)
    table.add_column("trouble", style="red")
    for each in listeners:
        counts = (str(each[name]) for name in numbers)
        table.add_row(each["listener"], each["broker"], each["state"], *counts, each["trouble"] or "")
    return table


def live_drain(drain: Any, where: str = "") -> list[RenderableType]:
    """Who holds a replaced generation, and since when; `where` says in which process."""
    lines: list[RenderableType] = [
        Text(
            f"{where}generation {drain['generation']} drains ({drain['why']}): {drain['leases_left']} leases left,"
            f" deadline in {drain['deadline_s']:.0f} s",
            style="yellow",
        )
    ]
    for worker in drain["workers"]:
        lines += [
            Text(f"  {each['state']}, taken at {each['peer']}, {each['age_s']:.0f} s ago")
            for each in worker["waits_for"]
        ]
    return lines
