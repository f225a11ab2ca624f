"""What `hitless rollout` shows: plans, a rollout while it goes on, its end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from hitless.change import JSON, Event

if TYPE_CHECKING:
    from hitless.rollout.difference import Change
    from hitless.rollout.journal import RolloutRow
    from hitless.rollout.report import Report
    from hitless.rollout.rollouts import Planned

REFRESH_HZ: Final = 4
SHOWN: Final = 20
"""Lines of nodes at work and of steps that a live table holds."""
COLOURS: Final = {
    "done": "green",
    "seen": "green",
    "failed": "red",
    "running": "yellow",
    "left": "yellow",
    "held": "yellow",
}
SIGNS: Final = {"+": "green", "-": "red", "~": "yellow"}


class Lines:
    """Events as lines of JSON on standard output."""

    def tell(self, event: Event) -> None:
        sys.stdout.write(json.dumps(event.to_json()) + "\n")
        sys.stdout.flush()


class View:
    """Follows events: a live table of what is at work on a terminal, a line per step elsewhere."""

    def __init__(self, out: Console) -> None:
        self._out: Final = out
        self._began: Final[dict[str, float]] = {}
        self._notes: Final[dict[str, str]] = {}
        self._turn = ""
        self._done = 0
        self._live: Final = (
            Live(get_renderable=self._table, console=out, refresh_per_second=REFRESH_HZ, transient=True)
            if out.is_terminal
            else None
        )

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, event: Event) -> None:
        """A subscriber of Events."""
        fields: Mapping[str, Any] = event.fields
        match event.name, fields:
            case "turn.started", {"turn": turn}:
                self._turn = str(turn)
            case "step.running", {"step": step}:
                self._began[step] = time.monotonic()
            case "step.told", {"step": step, "note": note}:
                self._notes[step] = str(note)
            case _, {"step": step, "note": note}:
                self._ended(str(step), event.name.removeprefix("step."), str(note))

    def _ended(self, step: str, state: str, note: str) -> None:
        began = self._began.pop(step, None)
        self._notes.pop(step, None)
        self._done += state in ("done", "seen")
        took = f" ({time.monotonic() - began:.1f} s)" if began is not None else ""
        colour = COLOURS.get(state, "white")
        self._out.print(f"[{colour}]{state:>7}[/] [bold]{escape(step)}[/]: {escape(note)}{took}")

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False, show_header=False)
        now = time.monotonic()
        for step, began in list(self._began.items())[:SHOWN]:
            node, _, kind = step.rpartition(".")
            table.add_row(
                f"[bold]{escape(node or kind)}[/]",
                kind,
                f"{now - began:.0f} s",
                escape(self._notes.get(step, "")),
            )
        more = len(self._began) - SHOWN
        return Group(f"[dim]{escape(self._turn)}[/]", table, f"… and {more} more" if more > 0 else "")


def print_plan(out: Console, planned: Planned) -> None:
    """The whole plan, with each step's gate and proof."""
    plan = planned.plan
    was = f" from {plan.before}" if plan.before else ""
    out.print(
        f"[bold]{escape(plan.service)}[/]: {plan.direction}{was} to release {escape(plan.release)}, plan {plan.id}"
    )
    for node, found in plan.found.items():
        out.print(f"  {node}: {found}", markup=False)
    for turn in plan.turns:
        out.print(f"[bold]{escape(turn.name)}[/]")
        for step in turn.steps:
            gate = f"; only if {step.gate}" if step.gate else ""
            out.print(
                f"  {step.id}: {step.about}{gate}; then {step.proof} (within {step.deadline_s:g} s)",
                markup=False,
            )
    if plan.is_empty:
        out.print("nothing is left to do")
    for note in plan.notes:
        out.print(note, markup=False, style="yellow")
    for each in planned.gates:
        word = "[green]holds[/]" if each.holds else "[red]does not hold[/]"
        out.print(f"gate {each.name} {word}: {escape(each.message)}")
    if not planned.may_begin:
        out.print("the rollout cannot begin", style="red")


def print_diff(out: Console, last: RolloutRow | None, changes: Sequence[Change]) -> None:
    out.print(f"against the plan of rollout {last.id}" if last is not None else "there was no rollout before")
    for change in changes:
        out.print(
            f"[{SIGNS[change.sign]}]{change.sign}[/] [bold]{escape(change.step)}[/] {escape(change.after or change.before)}"
        )
        if change.sign == "~":
            out.print(f"    was: {change.before}", markup=False, style="dim")
    if not changes:
        out.print("nothing differs")


def print_status(out: Console, report: Report) -> None:
    row = report.row
    was = f" from {row.plan.before}" if row.plan.before else ""
    out.print(
        f"[bold]rollout {row.id}[/] of {escape(row.service)}: {row.direction}{was} to release {escape(row.release)} is"
        f" [bold]{row.status}[/], {report.done} of {report.total} steps"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("turn", "step", "state", "took", ""):
        table.add_column(column, overflow="fold")
    for turn in row.plan.turns:
        for step in turn.steps:
            found = report.steps.get(step.id)
            state = found.state if found else "planned"
            took = (
                f"{found.finished_at - found.started_at:.1f} s"
                if found and found.finished_at and found.started_at
                else ""
            )
            note = found.note if found else ""
            colour = COLOURS.get(state, "dim")
            table.add_row(escape(turn.name), escape(step.id), f"[{colour}]{state}[/]", took, escape(note))
    out.print(table)
    if report.holder is not None:
        out.print(report.holder, markup=False)
    for each in report.waits_for:
        out.print(f"waits for {each}", markup=False)


def print_history(out: Console, rows: Sequence[RolloutRow]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("#", "at", "what", "release", "status", "who", "message"):
        table.add_column(column, overflow="fold")
    for row in rows:
        release = f"{row.plan.before or '?'} → {row.release}"
        cells = (str(row.id), _at(row.started_at), row.direction, release, row.status, row.who, row.message)
        table.add_row(*(escape(cell) for cell in cells))
    out.print(table if rows else "nothing was ever rolled out")


def print_events(out: Console, events: Sequence[Mapping[str, JSON]]) -> None:
    for event in events:
        fields: Any = event["fields"]
        said = "  ".join(f"{name}={value}" for name, value in fields.items() if value)
        at: Any = event["at"]
        out.print(f"{_at(at)}  {event['name']}  {said}", markup=False)


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
