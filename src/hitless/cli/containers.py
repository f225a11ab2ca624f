"""`hitless containers …`: stop, restart and replace containers without cutting their work."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hitless.change import ExitCode
from hitless.cli.container_options import Options, with_common
from hitless.cli.container_view import (
    explained,
    print_findings,
    print_outcome,
    print_records,
    table_of,
    unheard,
)
from hitless.cli.output import console, errors, print_json
from hitless.config.units import parse_seconds

if TYPE_CHECKING:
    from hitless.cli.container_session import Session
    from hitless.containers import ChangeOutcome, StopOutcome, Target, Unclear

    Outcomes = Sequence[StopOutcome | ChangeOutcome]
    Act = Callable[[Session, list[Target]], Awaitable[Outcomes]]

MISSING = "hitless containers needs {}; install it with: pip install 'hitless[containers]'"

OF_REPLACEMENTS = ("order", "keep_addresses", "alternate")
"""Parameters that only replacements have."""

Explain = Annotated[
    bool, typer.Option("--explain", help="show what applies to each container and why; nothing is done")
]
NewFirst = Annotated[
    bool,
    typer.Option(
        "--new-first",
        help="start the new one before the old one is stopped; refused if both want the same port or address",
    ),
]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Stop, restart and replace containers (Docker, Podman) without cutting their work.",
        no_args_is_help=True,
    )
    try:
        from hitless.containers.rules import Rule
    except ModuleNotFoundError as error:
        _say_what_is_missing(group, str(error.name))
    else:
        group.command()(with_common(ps))
        for command in (stop, restart, doctor):
            group.command()(with_common(command, Rule, without=OF_REPLACEMENTS))
        for replacing in (recreate, upgrade):
            group.command()(with_common(replacing, Rule))
        group.command()(history)
        group.command()(with_common(extend))
        group.command()(with_common(cancel))
    app.add_typer(group, name="containers")


def ps(
    options: Options,
    explain: Annotated[
        bool, typer.Option("--explain", help="show each parameter and where it is from")
    ] = False,
) -> None:
    """Show containers and how each would be stopped; with --all also those that do not run."""
    from hitless.cli.container_session import Asked, run, session
    from hitless.containers import Selection

    everything = Selection(names=("*",)) if options.all else Selection(all=True)
    chosen = Selection(options.names, options.labels) if options.names or options.labels else everything

    async def work() -> int:
        async with session(Asked(options, chosen, is_quiet=True), recovers=False) as opened:
            looked = await opened.host.looked(opened.asked.selection)
            if explain:
                _explain(looked, as_json=options.as_json)
            elif options.as_json:
                print_json({"containers": [_row(each) for each in looked]})
            else:
                console().print(table_of(looked))
        return 0

    run(work)


def stop(options: Options, explain: Explain = False) -> None:
    """Let containers finish their work and end; exit 0 only if every one of them did."""

    async def act(opened: Session, targets: list[Target]) -> Outcomes:
        return await opened.fleet.stop(targets)

    _each(options, act, explain=explain)


def restart(options: Options, explain: Explain = False) -> None:
    """Stop containers as stop does, and start them again; users are stopped before, and started after, what they use."""

    async def act(opened: Session, targets: list[Target]) -> Outcomes:
        return await opened.fleet.restart(targets)

    _each(options, act, explain=explain)


def recreate(options: Options, new_first: NewFirst = False, explain: Explain = False) -> None:
    """Replace containers by new ones that are the same; on failure the old ones come back."""
    _replace(options, lambda target: target.container.image, new_first=new_first, explain=explain)


def upgrade(
    options: Options,
    image: Annotated[
        str | None,
        typer.Option("--image", help="the new image; the same name anew if not given", metavar="IMAGE"),
    ] = None,
    new_first: NewFirst = False,
    force: Annotated[
        bool, typer.Option("--force", help="replace also what is made of this very image")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="say which would be replaced, and by what; nothing is done")
    ] = False,
    explain: Explain = False,
) -> None:
    """Replace containers by ones of another image; those that run it already stay. On failure the old ones come back."""
    if check:
        _check(options, image, force=force)
        return
    _replace(
        options,
        lambda target: image or target.container.image,
        new_first=new_first,
        explain=explain,
        upgrades=not force,
    )


def _check(options: Options, image: str | None, *, force: bool) -> None:
    from hitless.cli.container_session import Asked, run, session
    from hitless.containers import Selection

    chosen = Selection(options.names, options.labels, options.all)

    async def work() -> int:
        chosen.check()
        rows: list[dict[str, Any]] = []
        async with session(Asked(options, chosen, is_quiet=True), recovers=False) as opened:
            for target in await opened.targets():
                container = target.container
                to = (await opened.engine.image(image or container.image))["Id"]
                changes = force or to != container.image_id
                rows.append(
                    {"container": target.name, "changes": changes, "from": container.image_id, "to": to}
                )
        if options.as_json:
            print_json({"containers": rows})
        else:
            for row in rows:
                does = f"{row['from']} → {row['to']}" if row["changes"] else "stays as it is"
                console().print(f"{row['container']}: {does}", markup=False)
        return 0

    run(work)


def _replace(
    options: Options,
    image: Callable[[Target], str],
    *,
    new_first: bool,
    explain: bool,
    upgrades: bool = False,
) -> None:
    async def act(opened: Session, targets: list[Target]) -> Outcomes:
        from hitless.containers import Wish

        return await opened.fleet.replace(
            targets, lambda target: Wish(image(target), new_first, only_if_other=upgrades)
        )

    _each(options, act, explain=explain)


def doctor(
    options: Options,
    units: Annotated[
        list[str] | None,
        typer.Option(
            "--units", help="directory of systemd units; systemd's own if not given", metavar="PATH"
        ),
    ] = None,
) -> None:
    """Find containers that will be killed rather than stopped; exit 1 if there are any. All that run if none is named."""
    from hitless.cli.container_session import Asked, run, session
    from hitless.containers import Selection, Unclear, examined, unclear
    from hitless.containers.units import DIRECTORIES

    named = Selection(options.names, options.labels)
    chosen = named if options.names or options.labels else Selection(all=True)
    directories = [Path(each) for each in units] if units else list(DIRECTORIES)

    async def work() -> int:
        async with session(Asked(options, chosen, is_quiet=True), recovers=False) as opened:
            dialect = opened.engine.dialect
            looked = await opened.host.looked(opened.asked.selection)
            findings = [
                finding
                for each in looked
                for finding in (
                    [unclear(each.name, each.message)]
                    if isinstance(each, Unclear)
                    else examined(each.container, each.parameters, dialect, directories)
                )
            ]
        if options.as_json:
            print_json({"examined": len(looked), "findings": [each.to_json() for each in findings]})
        else:
            print_findings(console(), findings, len(looked))
        return int(ExitCode.FAILED if findings else ExitCode.DONE)

    run(work)


def extend(
    options: Options,
    by: Annotated[str, typer.Option("--by", help="how much longer, as in 10m", metavar="TIME")] = "1m",
) -> None:
    """Give containers that are being stopped more time."""
    try:
        seconds = parse_seconds(by)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    _tell(options, "extend", {"seconds": seconds}, "{container} has {remaining_s:.0f} s now")


def cancel(options: Options) -> None:
    """Give up a stop that is going on: no further signal is sent, and nothing is killed."""
    _tell(options, "cancel", {}, "the stop of {container} is cancelled")


def history(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="containers: names or globs; all if none")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="rows, newest first")] = 20,
    state_dir: Annotated[
        str | None, typer.Option("--state-dir", help="where it was written", metavar="PATH")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Show what was done to containers: when, by whom, how it came out, and whether work can have been cut."""
    from hitless.cli.container_session import run
    from hitless.containers import recorded, state_directory

    async def work() -> int:
        directory = state_directory(None if state_dir is None else Path(state_dir))
        rows = recorded(directory, names or (), limit=limit)
        if as_json:
            print_json({"rows": [row.to_json() for row in rows]})
        else:
            print_records(console(), rows)
        return 0

    run(work)


def _each(options: Options, act: Act, *, explain: bool) -> None:
    from hitless.cli.container_session import Asked, run, session
    from hitless.containers import Selection

    chosen = Selection(options.names, options.labels, options.all)

    async def work() -> int:
        chosen.check()
        async with session(
            Asked(options, chosen, is_quiet=options.as_json or explain), recovers=not explain
        ) as opened:
            targets = await opened.targets()
            if explain:
                _explain(targets, as_json=options.as_json)
                return 0
            return _told(await act(opened, targets), as_json=options.as_json)

    run(work)


def _tell(options: Options, method: str, params: dict[str, Any], sentence: str) -> None:
    from hitless.cli.container_session import Asked, run, session
    from hitless.containers import Selection
    from hitless.containers.errors import NoSuchStop
    from hitless.containers.oversight import desk_path
    from hitless.control import ControlClient, ControlError

    chosen = Selection(options.names, options.labels, options.all)

    async def work() -> int:
        chosen.check()
        answers: list[Any] = []
        missed: list[ControlError | NoSuchStop] = []
        async with session(Asked(options, chosen, is_quiet=True), recovers=False) as opened:
            for looked in await opened.host.looked(chosen):
                try:
                    with ControlClient(desk_path(opened.fleet.intents.key(looked.name))) as other:
                        answers.append(other.call(method, params))
                except ControlError as error:
                    is_idle = error.exit_code is ExitCode.NOBODY
                    idle = NoSuchStop(
                        f"nobody is stopping {looked.name} just now; see: hitless containers ps"
                    )
                    missed.append(idle if is_idle else error)
        if options.as_json:
            print_json({"containers": answers})
        else:
            for answer in answers:
                console().print(sentence.format(**answer), markup=False)
        # Of "all", or of those with a label, only those that are being stopped are meant.
        is_wide = bool(answers) and not options.names
        said = [each for each in missed if not (is_wide and isinstance(each, NoSuchStop))]
        for each in said[:-1]:
            errors().print(f"hitless: {each}", markup=False)
        if not answers and not said:
            raise NoSuchStop("no container is being stopped just now")
        if said:
            raise said[-1]
        return 0

    run(work)


def _told(outcomes: Outcomes, *, as_json: bool) -> int:
    from hitless.containers import worst

    if as_json:
        with unheard():
            print_json({"containers": [outcome.to_json() for outcome in outcomes]})
            sys.stdout.flush()
    for outcome in () if as_json else outcomes:
        with unheard():
            print_outcome(console() if outcome.is_clean else errors(), outcome)
    if not outcomes and not as_json:
        console().print("nothing to do: no container fits")
    return int(worst([outcome.exit for outcome in outcomes]))


def _explain(looked: Sequence[Target | Unclear], *, as_json: bool) -> None:
    if as_json:
        print_json({"containers": [_why(each) for each in looked]})
        return
    for each in looked:
        console().print(explained(each))


def _why(looked: Target | Unclear) -> dict[str, Any]:
    from hitless.containers import Unclear

    if isinstance(looked, Unclear):
        return {"container": looked.name, "parameters": [], "invalid": looked.message}
    return {
        "container": looked.name,
        "parameters": [row._asdict() for row in looked.parameters.rows()],
        "invalid": None,
    }


def _row(looked: Target | Unclear) -> dict[str, Any]:
    from hitless.containers import Unclear

    container = looked.container
    return {
        "container": container.name,
        "id": container.id,
        "state": container.state,
        "image": container.image,
        "restart_policy": str(container.policy),
        "stop": None if isinstance(looked, Unclear) else str(looked.parameters.sequence),
        "invalid": looked.message if isinstance(looked, Unclear) else None,
    }


def _say_what_is_missing(group: typer.Typer, module: str) -> None:
    @group.callback(invoke_without_command=True)
    def missing() -> None:
        errors().print(f"hitless: {MISSING.format(module)}", markup=False)
        raise typer.Exit(int(ExitCode.FAILED))
