"""What `hitless db` shows: a state, a plan, a phase while it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hitless.cli.output import console, errors, print_json

if TYPE_CHECKING:
    from hitless.schema import Listener, State
    from hitless.schema.plan import Step


@contextmanager
def shown(*, quiet: bool) -> Iterator[Listener]:
    """A listener that shows notes and a bar per data migration on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from hitless.schema import Listener, Progress

    if quiet:
        yield Listener()
        return
    out: Console = errors()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} rows/s"), TimeRemainingColumn(), TextColumn("{task.fields[held]}"),
    )  # fmt: skip
    bars = Bars(*columns, console=out, transient=True)

    class Shown(Listener):
        def __init__(self) -> None:
            self.tasks: dict[str, TaskID] = {}

        def note(self, message: str) -> None:
            out.print(message, markup=False)

        def progress(self, progress: Progress) -> None:
            if progress.name not in self.tasks:
                self.tasks[progress.name] = bars.add_task(
                    progress.name, total=progress.total, rate=0.0, held=""
                )
            bars.update(
                self.tasks[progress.name], completed=progress.done, total=progress.total, rate=progress.rate,
                held=progress.held_by,
            )  # fmt: skip

    with bars:
        yield Shown()


def show_state(state: State, *, as_json: bool) -> None:
    if as_json:
        print_json(state.to_json())
        return
    out = console()
    out.print(
        f"release {state.release}; the database is at {', '.join(state.heads) or 'nothing yet'}", markup=False
    )
    rows: list[tuple[str, Any]] = [
        ("expand", ", ".join(state.expand) or "done"),
        ("migrate", _waiting(state)),
        ("contract", ", ".join(state.contract) or "done"),
    ]
    for name, value in rows:
        out.print(f"  {name}: {value}", markup=False)
    if state.interrupted:
        out.print(
            f"  {state.interrupted} statements were interrupted; running the phase again looks what became of them"
        )
    for name in state.skipped:
        out.print(f"  {name} never ran to its end, and its release is contracted: rows may be lost")
    if state.holder:
        out.print(f"  {state.holder}", markup=False)
    out.print(f"next: hitless db {state.next}" if state.next else "nothing is left to do")


def _waiting(state: State) -> str:
    waiting = [
        f"{name} ({'rows' if found is True else f'{found} rows'} wait)"
        for name, found in state.pending.items()
        if found
    ]
    waiting += [f"{name} (after expand)" for name in state.unknown]
    return ", ".join(waiting) or "done"


def show_steps(steps: tuple[Step, ...]) -> None:
    out = console()
    for step in steps:
        out.print(f"{step.phase} {step.name}: {step.about}", markup=False)
        for statement in step.statements:
            out.print(f"    {' '.join(statement.split())}", markup=False, style="dim")
    if not steps:
        out.print("nothing is left to do")
