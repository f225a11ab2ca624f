"""What a stop looks like while it goes on: a line per container on a terminal, a line per event elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape as marked
from rich.table import Table

from hitless.change import Event

if TYPE_CHECKING:
    from hitless.containers import ChangeOutcome, Finding, Record, StopOutcome, Target, Unclear

CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
"""What a container writes must not move the cursor, or rename the window, of whoever reads it."""
COLOURS: Final = {
    "clean": "green",
    "already_stopped": "green",
    "forced": "red",
    "lost": "red",
    "refused": "yellow",
}
REFRESH_HZ: Final = 4


def plain(text: str) -> str:
    """The text, its control characters made visible."""
    return text.translate(CONTROLS)


def escape(text: str) -> str:
    """Somebody else's text between our own markup."""
    return marked(plain(text))


@contextmanager
def unheard() -> Iterator[None]:
    """While something is printed: that nobody reads it any more (`| head`, a terminal that was closed) ends no stop half-way."""
    try:
        yield
    except (OSError, SystemExit):  # rich exits where a pipe is broken
        with open(os.devnull, "w") as nowhere, suppress(OSError, ValueError):
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


@dataclass(slots=True)
class _Line:
    began: float
    phase: str
    until: float | None = None


class View:
    """Follows events; use as a context manager around what emits them."""

    def __init__(self, console: Console) -> None:
        self._console: Final = console
        self._lines: Final[dict[str, _Line]] = {}
        self._live: Final = (
            Live(get_renderable=self._table, console=console, refresh_per_second=REFRESH_HZ, transient=True)
            if console.is_terminal
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
            with unheard():
                self._live.stop()

    def tell(self, event: Event) -> None:
        """A subscriber of Events."""
        fields: Mapping[str, Any] = event.fields
        name = str(fields.get("container"))
        now = time.monotonic()
        line = self._lines.setdefault(name, _Line(now, ""))
        match event.name, fields:
            case "container.stopping", {"sequence": sequence}:
                line.phase, line.until = f"stopping: {sequence}", None
            case "container.draining", {"seconds": float(seconds)}:
                line.phase, line.until = "draining", now + seconds
            case "container.signalled", {"signal": signal, "wait_s": float(wait_s)}:
                line.phase, line.until = f"{signal} sent", now + wait_s
            case "container.extended", {"seconds": float(seconds)} if line.until is not None:
                line.until += seconds
                line.phase += f" (+{seconds:g} s)"
            case "container.stopped" | "container.replaced", {"message": message}:
                line.phase, line.until = str(message), None
                self._lines.pop(name)
                return
            case _, {"message": message}:
                line.phase, line.until = str(message), None
        if self._live is None and line.phase:
            within = "" if line.until is None else f", at most {line.until - now:.0f} s"
            with unheard():
                self._console.print(f"{escape(name)}: {escape(line.phase)}{within}")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        now = time.monotonic()
        for name, line in self._lines.items():
            left = "" if line.until is None else f"{max(0.0, line.until - now):.0f} s left"
            table.add_row(f"[bold]{escape(name)}[/]", escape(line.phase), f"{now - line.began:.0f} s", left)
        return table


def print_change(console: Console, outcome: ChangeOutcome) -> None:
    """Whether the new one serves, and how the old one ended if that was not as it should be."""
    word = outcome.status.value + (f" ({outcome.reason})" if outcome.reason else "")
    colour = "green" if outcome.is_clean else "red"
    console.print(f"[bold {colour}]{word}[/] {escape(outcome.message)}")
    for line in outcome.log:
        console.print(f"  | {plain(line)}", markup=False, style="dim")
    if outcome.stop is not None and not outcome.stop.is_clean:
        print_stop(console, outcome.stop)


def print_outcome(console: Console, outcome: StopOutcome | ChangeOutcome) -> None:
    """The verdict, for people."""
    from hitless.containers import ChangeOutcome

    if isinstance(outcome, ChangeOutcome):
        print_change(console, outcome)
    else:
        print_stop(console, outcome)


def print_stop(console: Console, outcome: StopOutcome) -> None:
    """How it ended, and what an operator needs besides."""
    word = outcome.ended.value + (f" ({outcome.reason})" if outcome.reason else "")
    colour = COLOURS[outcome.ended.value]
    console.print(f"[bold {colour}]{word}[/] {escape(outcome.message)}")
    for note in outcome.notes:
        console.print(f"  {escape(note)}")
    for line in outcome.log:
        console.print(f"  | {plain(line)}", markup=False, style="dim")


def print_records(console: Console, rows: Sequence[Record]) -> None:
    """What was done, one row each, and below it why it was not as it should be."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("when", "container", "command", "outcome", "seconds", "asked by"):
        table.add_column(column, overflow="fold")
    for row in rows:
        word = row.outcome + (f" ({row.reason})" if row.reason else "") + (" CUT" if row.forced else "")
        table.add_row(
            f"{datetime.fromtimestamp(row.at).astimezone():%Y-%m-%d %H:%M:%S}",
            escape(row.container),
            row.verb + (f" → {escape(row.image)}" if row.image else ""),
            word,
            f"{row.timings['all']:.1f}" if "all" in row.timings else "",
            escape(row.requested_by),
            style="red" if row.forced else None,
        )
    console.print(table)
    for row in rows:
        if row.reason:
            console.print(f"  {plain(row.message)}", markup=False)


def print_findings(console: Console, findings: Sequence[Finding], examined: int) -> None:
    """Each fault with its remedy."""
    for finding in findings:
        console.print(
            f"[bold]{escape(finding.container)}[/] [red]{finding.fault}[/]: {escape(finding.message)}"
        )
        console.print(f"  {escape(finding.remedy)}")
    sick = len({finding.container for finding in findings})
    noun = "container" if examined == 1 else "containers"
    console.print(f"{examined} {noun} examined, {sick} of them will be cut when they are stopped")


def table_of(looked: Sequence[Target | Unclear]) -> Table:
    """The containers and how each would be stopped."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("container", "state", "image", "restart", "stop"):
        table.add_column(column, overflow="fold")
    for each in looked:
        container = each.container
        cells = (container.name, container.state, container.image, str(container.policy))
        table.add_row(*(escape(cell) for cell in cells), _stop_of(each))
    return table


def _stop_of(looked: Target | Unclear) -> str:
    from hitless.containers import Unclear

    if isinstance(looked, Unclear):
        return f"[red]refused: {escape(looked.message)}[/]"
    return escape(str(looked.parameters.sequence))


def explained(looked: Target | Unclear) -> Group:
    """What applies to one container, and why."""
    from hitless.containers import Unclear

    head = f"[bold]{escape(looked.name)}[/]: {_stop_of(looked)}"
    if isinstance(looked, Unclear):
        return Group(head)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("parameter", "value", "from"):
        table.add_column(column, overflow="fold")
    for row in looked.parameters.rows():
        table.add_row(*(escape(cell) for cell in row))
    return Group(head, table)
