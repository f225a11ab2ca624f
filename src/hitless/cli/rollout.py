"""`hitless rollout`: bring every node of a service to a release, and its database with them, without losing a request."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hitless.change import Events, ExitCode
from hitless.cli.output import console, errors, print_json
from hitless.config import ConfigError

if TYPE_CHECKING:
    from hitless.rollout.journal import RolloutRow
    from hitless.rollout.rollouts import Rollouts

File = Annotated[Path, typer.Option("--file", "-f", help="the rollout's description")]
DEFAULT: Path = Path("rollout.yaml")
ReleaseName = Annotated[
    str | None,
    typer.Option("--release", help="release to go to; that of the file, or its last, if not given"),
]
StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help="where the journal is; a folder of the system's if not given"),
]
Writable = Annotated[
    bool, typer.Option("--allow-writable", help="accept configuration files that others may write")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
AsEvents = Annotated[bool, typer.Option("--events", help="print one JSON object per event while it goes on")]
Work = Callable[["Rollouts"], Coroutine[Any, Any, "RolloutRow"]]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(name="rollout", help=__doc__, no_args_is_help=True)
    for command in (plan, run, status, pause, resume, abort, rollback, history):
        group.command()(command)
    app.add_typer(group)


def plan(
    diff: Annotated[bool, typer.Option("--diff", help="compare with the last rollout's plan")] = False,
    file: File = DEFAULT,
    release: ReleaseName = None,
    state_dir: StateDir = None,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Print every step and gate for these nodes in their present state; exit 3 if a gate does not hold. Nothing is changed."""
    with told():
        from hitless.cli.rollout_view import print_diff, print_plan
        from hitless.rollout.difference import difference

        rollouts = _rollouts(file, release, state_dir, allow_writable)
        planned = asyncio.run(rollouts.plan())
        last = next(iter(asyncio.run(rollouts.history(1))), None) if diff else None
        changes = difference(last.plan if last is not None else None, planned.plan) if diff else ()
        if as_json:
            answer = {
                "plan": planned.plan.to_json(),
                "id": planned.plan.id,
                "gates": [each.to_json() for each in planned.gates],
            }
            print_json(answer | ({"diff": [each.to_json() for each in changes]} if diff else {}))
        elif diff:
            print_diff(console(), last, changes)
        else:
            print_plan(console(), planned)
        if not planned.may_begin:
            raise typer.Exit(int(ExitCode.REJECTED))


def run(
    file: File = DEFAULT,
    release: ReleaseName = None,
    state_dir: StateDir = None,
    allow_writable: Writable = False,
    as_json: AsJson = False,
    as_events: AsEvents = False,
) -> None:
    """Plan a rollout and do it. Ctrl-C pauses it as soon as no node is out of service."""
    with told(as_json=as_json):
        rollouts = _rollouts(file, release, state_dir, allow_writable)
        _work(rollouts, lambda each: each.run(), as_json=as_json, as_events=as_events)


def resume(
    file: File = DEFAULT,
    state_dir: StateDir = None,
    allow_writable: Writable = False,
    as_json: AsJson = False,
    as_events: AsEvents = False,
) -> None:
    """Go on with a rollout that was paused, that failed, or whose runner died: from what is so now."""
    with told(as_json=as_json):
        rollouts = _rollouts(file, None, state_dir, allow_writable)
        _work(rollouts, lambda each: each.resume(), as_json=as_json, as_events=as_events)


def rollback(
    file: File = DEFAULT,
    state_dir: StateDir = None,
    allow_writable: Writable = False,
    as_json: AsJson = False,
    as_events: AsEvents = False,
) -> None:
    """Bring every node back to the release that it had; refused once contract has begun."""
    with told(as_json=as_json):
        rollouts = _rollouts(file, None, state_dir, allow_writable)
        _work(rollouts, lambda each: each.rollback(), as_json=as_json, as_events=as_events)


def pause(
    file: File = DEFAULT,
    state_dir: StateDir = None,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Ask the runner to stop as soon as no node is out of service. Resume goes on."""
    _ask("pause", file, state_dir, allow_writable=allow_writable, as_json=as_json)


def abort(
    file: File = DEFAULT,
    state_dir: StateDir = None,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """End the rollout where it is, and give traffic back to nodes that were being drained. Rollback stays possible."""
    _ask("abort", file, state_dir, allow_writable=allow_writable, as_json=as_json)


def status(
    file: File = DEFAULT,
    state_dir: StateDir = None,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Show the last rollout: each node's step, and what is waited for. Exit 0 if it is done or goes on, 3 if it waits for
    somebody, 6 if there never was one."""
    with told():
        from hitless.cli.rollout_view import print_status
        from hitless.rollout.report import report

        rollouts = _rollouts(file, None, state_dir, allow_writable)
        found = asyncio.run(rollouts.status())
        if found is None:
            errors().print(
                f"hitless: nothing was ever rolled out of {rollouts.rollout.settings.service}", markup=False
            )
            raise typer.Exit(int(ExitCode.NOBODY))
        made = report(*found)
        if as_json:
            print_json(made.to_json())
        else:
            print_status(console(), made)
        if made.row.is_open and made.holder is None:
            raise typer.Exit(int(ExitCode.REJECTED))


def history(
    limit: Annotated[int, typer.Option("--limit", help="how many")] = 20,
    events: Annotated[
        bool, typer.Option("--steps", help="also what happened in the last one, event by event")
    ] = False,
    file: File = DEFAULT,
    state_dir: StateDir = None,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Show the rollouts of the service, the last one first."""
    with told():
        from hitless.cli.rollout_view import print_events, print_history

        rollouts = _rollouts(file, None, state_dir, allow_writable)
        rows = asyncio.run(rollouts.history(limit))
        found = asyncio.run(rollouts.status()) if events else None
        happened = found[1].events(found[0].id) if found is not None else ()
        if as_json:
            print_json({"rollouts": [row.to_json() for row in rows], "events": list(happened)})
            return
        print_history(console(), rows)
        print_events(console(), happened)


@contextmanager
def told(*, as_json: bool = False) -> Iterator[None]:
    """What goes wrong, in words (and as JSON, if that was asked for), and its exit code."""
    try:
        from hitless.rollout.errors import RolloutError
        from hitless.rollout.rollouts import Rollouts  # noqa: F401
    except ModuleNotFoundError as error:
        errors().print(
            f"hitless: rollout needs {error.name}; install it with: pip install 'hitless[rollout]'",
            markup=False,
        )
        raise typer.Exit(int(ExitCode.FAILED)) from error
    try:
        yield
    except RolloutError as error:
        if as_json:
            print_json({"reason": error.reason, "message": error.message, "exit": int(error.exit_code)})
        errors().print(f"hitless: {error.message}", markup=False)
        if error.detail:
            errors().print(error.detail, markup=False, style="dim")
        raise typer.Exit(int(error.exit_code)) from error
    except ConfigError as error:
        errors().print(str(error), markup=False)
        raise typer.Exit(int(ExitCode.INVALID)) from error


def _rollouts(
    file: Path,
    release: str | None,
    state_dir: Path | None,
    allow_writable: bool,
    events: Events | None = None,
) -> Rollouts:
    from hitless.rollout.reading import read_rollout
    from hitless.rollout.rollouts import Rollouts

    rollout = read_rollout(file, release=release, allow_writable=allow_writable)
    return Rollouts(rollout, state_dir or _state_directory(), events)


def _state_directory() -> Path:
    if said := os.environ.get("STATE_DIRECTORY"):
        return Path(said.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/hitless/rollout")
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(home) / "hitless" / "rollout"


def _work(rollouts: Rollouts, work: Work, *, as_json: bool, as_events: bool) -> None:
    from hitless.cli.rollout_view import Lines, View

    async def follow() -> RolloutRow:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _interrupted, rollouts)
        return await work(rollouts)

    if as_events:
        rollouts.events.subscribe(Lines().tell)
        row = asyncio.run(follow())
    elif as_json:
        row = asyncio.run(follow())
        print_json(row.to_json() | {"cpu_s": round(time.process_time(), 3)})
    else:
        with View(console()) as view:
            rollouts.events.subscribe(view.tell)
            row = asyncio.run(follow())
        console().print(f"[bold green]{row.status}[/] {row.message}")


def _interrupted(rollouts: Rollouts) -> None:
    errors().print("pausing as soon as no node is out of service; again: as soon as possible")
    rollouts.interrupt()


def _ask(wish: str, file: Path, state_dir: Path | None, *, allow_writable: bool, as_json: bool) -> None:
    with told():
        rollouts = _rollouts(file, None, state_dir, allow_writable)
        row = asyncio.run(rollouts.ask(wish))
        if as_json:
            print_json(row.to_json())
        else:
            asked = (
                f"rollout {row.id} was asked to {wish}" if row.wish else f"rollout {row.id} is {row.status}"
            )
            console().print(asked, markup=False)
