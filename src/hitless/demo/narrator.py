"""How a demonstration is told while it runs: to people, or not at all."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hitless.demo.report import DemoReport, StepReport


class Narrator(Protocol):
    """Told by a part what happens."""

    def opened(self, title: str) -> None:
        """A part begins."""

    def began(self, step: str, about: str) -> None:
        """A step begins."""

    def said(self, line: str) -> None:
        """Something happened within the step."""

    def ended(self, step: StepReport) -> None:
        """The step is over."""

    def closed(self, report: DemoReport) -> None:
        """The part is over."""


class Silent:
    """For machines, who read the report."""

    def opened(self, title: str) -> None:
        pass

    def began(self, step: str, about: str) -> None:
        pass

    def said(self, line: str) -> None:
        pass

    def ended(self, step: StepReport) -> None:
        pass

    def closed(self, report: DemoReport) -> None:
        pass


class Told:
    """For people, line by line as it happens, with a table at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def opened(self, title: str) -> None:
        self._console.print(f"\n[bold]{escape(title)}[/]")

    def began(self, step: str, about: str) -> None:
        self._console.print(f"\n[bold cyan]{escape(step)}[/] · {escape(about)}")

    def said(self, line: str) -> None:
        self._console.print(f"  [dim]{escape(line)}[/]", soft_wrap=True)

    def ended(self, step: StepReport) -> None:
        colour = "green" if step.as_expected else "red"
        self._console.print(f"  [{colour}]{escape(step.outcome)}[/] · {_seen(step)}", soft_wrap=True)

    def closed(self, report: DemoReport) -> None:
        self._console.print()
        self._console.print(_table(report))
        verdict = "[bold green]nobody noticed[/]" if report.ok else "[bold red]failed[/]"
        self._console.print(f"{escape(report.part)}: {verdict}")


def _seen(step: StepReport) -> str:
    worst = "red" if step.failed or step.closed_by_server else "default"
    return (
        f"{step.requests} requests, [{worst}]{step.failed} failed, "
        f"{step.closed_by_server} connections closed by the server[/], slowest {step.max_ms:.0f} ms"
    )


def _table(report: DemoReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("step", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for column in ("requests", "failed", "server closed", "slowest"):
        table.add_column(column, justify="right", no_wrap=True)
    for step in report.steps:
        numbers = (
            str(step.requests),
            str(step.failed),
            str(step.closed_by_server),
            f"{step.max_ms:.0f}\xa0ms",
        )
        outcome = step.outcome.partition(",")[0].partition(":")[0]  # the rest was told with the step
        table.add_row(escape(step.name), escape(outcome), *numbers, style=None if step.ok else "red")
    slowest = max((step.max_ms for step in report.steps), default=0.0)
    requests = sum(step.requests for step in report.steps)
    total = (str(requests), str(report.failed), str(report.closed_by_server), f"{slowest:.0f}\xa0ms")
    table.add_row("total", "", *total, style="bold")
    return table
