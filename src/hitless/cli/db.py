"""`hitless db`: change the schema of a database while the service runs on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hitless.change import ExitCode
from hitless.cli.db_output import show_state, show_steps, shown
from hitless.cli.output import console, errors, print_json
from hitless.config import ConfigError

if TYPE_CHECKING:
    from hitless.schema import AnyPhases, Listener, Report

Config = Annotated[
    Path, typer.Option("--config", "-c", help="settings, alone in a file or as its table [db]")
]
DEFAULT: Path = Path("hitless-db.toml")
Writable = Annotated[
    bool, typer.Option("--allow-writable", help="accept a configuration file that others may write")
]
ReleaseName = Annotated[
    str | None, typer.Option("--release", help="release to go to; the last one in the folder if not given")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(name="db", help=__doc__, no_args_is_help=True)
    for command in (
        init,
        revision,
        status,
        check,
        plan,
        expand,
        migrate,
        contract,
        backup,
        restore,
        lint,
        history,
        resolve,
    ):
        group.command()(command)
    app.add_typer(group)


def init(
    url: Annotated[str, typer.Option("--url", help="URL of the database")] = "sqlite:///service.db",
    service: Annotated[str, typer.Option("--service", help="name of the service")] = "service",
    folder: Annotated[Path, typer.Option("--folder", help="where")] = Path(),
) -> None:
    """Make a folder for migrations, and hitless-db.toml."""
    with told():
        from hitless.schema.settings import DEFAULT_FILE
        from hitless.schema.writing import init as make

        made = make(folder, migrations="migrations", settings_file=DEFAULT_FILE, url=url, service=service)
        for path in made:
            console().print(f"made {path}")
        console().print(
            "next: hitless db revision RELEASE -m MESSAGE" if made else "everything is there already"
        )


def revision(
    release: Annotated[str, typer.Argument(help="release that the migrations belong to")],
    message: Annotated[str, typer.Option("--message", "-m", help="what changes")] = "change",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="expand, migrate or contract; all three if not given")
    ] = None,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
) -> None:
    """Write the files of a release: an expand and a contract revision, and a data migration between them."""
    with told():
        from hitless.schema.writing import PARTS, add_revision

        if unknown := set(only or ()) - set(PARTS):
            raise typer.BadParameter(f"there is no part {unknown.pop()}; there are: {', '.join(PARTS)}")
        phases = _phases(config, allow_writable)
        folder = phases.folder / phases.settings.migrations
        for path in add_revision(
            folder, release, message, only=[part for part in PARTS if part in (only or ())]
        ):
            console().print(f"made {path}")


def status(
    release: ReleaseName = None,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Show what the database is at, and what comes next. Nothing is changed."""
    with told():
        state = _phases(config, allow_writable).status(release)
        show_state(state, as_json=as_json)


def check(
    release: ReleaseName = None,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Exit 0 if the database is where the release wants it, else 1, and say what comes next."""
    with told():
        state = _phases(config, allow_writable).status(release)
        if as_json:
            print_json(state.to_json())
        elif state.next is None:
            console().print(f"the database is up to date with release {state.release}")
        else:
            console().print(f"next: hitless db {state.next}")
        if state.next is not None:
            raise typer.Exit(int(ExitCode.FAILED))


def plan(
    release: ReleaseName = None,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Print every step up to the release with its SQL, and the gates as they stand. Nothing is changed."""
    with told():
        from hitless.schema.opening import own
        from hitless.schema.plan import steps_of

        phases = own(_phases(config, allow_writable))
        steps = steps_of(phases, release)
        gates = phases.gates(release)
        if as_json:
            print_json(
                {"steps": [step.to_json() for step in steps], "gates": [gate.to_json() for gate in gates]}
            )
            return
        show_steps(steps)
        for gate in gates:
            console().print(
                f"gate {gate.name}: {'holds' if gate.holds else 'closed'}: {gate.message}", markup=False
            )


def expand(
    release: ReleaseName = None,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Add what the release needs; the release before it goes on running."""
    _run(config, allow_writable, as_json, lambda phases: phases.expand(release))


def migrate(
    release: ReleaseName = None,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Move rows in small batches until none waits; can be stopped and run again at any time."""
    _run(config, allow_writable, as_json, lambda phases: phases.migrate(release))


def contract(
    release: ReleaseName = None,
    force: Annotated[
        list[str] | None, typer.Option("--force", help="a gate to override, by name; the ledger keeps it")
    ] = None,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Remove what only older releases need, once every gate holds."""
    _run(config, allow_writable, as_json, lambda phases: phases.contract(release, force=force or ()))


def backup(config: Config = DEFAULT, allow_writable: Writable = False, as_json: AsJson = False) -> None:
    """Take a backup and read it back; contract wants one."""
    with told():
        taken = _phases(config, allow_writable).backup()
        if as_json:
            print_json({"path": str(taken.path), "size": taken.size, "sha256": taken.sha256})
        else:
            console().print(f"{taken.path} ({taken.size} bytes) is written and readable", markup=False)


def restore(
    path: Annotated[Path, typer.Argument(help="the backup")],
    yes: Annotated[bool, typer.Option("--yes", help="really replace the database by the backup")] = False,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
) -> None:
    """Bring the database back to a backup; everything written since is lost."""
    if not yes:
        raise typer.BadParameter(
            "everything written since the backup is lost; say --yes if that is what you want"
        )
    with told():
        _phases(config, allow_writable).restore(path)
        console().print(f"the database is as it was in {path}", markup=False)


def lint(
    release: ReleaseName = None,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Find what would block or break the running release in the revisions of a release; exit 1 if there is anything."""
    with told():
        from hitless.schema.lint import lint as find
        from hitless.schema.opening import own

        phases = own(_phases(config, allow_writable))
        findings = find(phases.project, phases.database, phases.project.release(release))
        if as_json:
            print_json([finding.to_json() for finding in findings])
        else:
            for finding in findings:
                console().print(str(finding), markup=False)
            console().print(f"{len(findings)} findings" if findings else "nothing was found")
        if findings:
            raise typer.Exit(int(ExitCode.FAILED))


def history(
    limit: Annotated[int, typer.Option("--limit", help="how many rows")] = 20,
    config: Config = DEFAULT,
    allow_writable: Writable = False,
    as_json: AsJson = False,
) -> None:
    """Show what was run on this database: by whom, how it ended, which gates were overridden."""
    with told():
        runs = _phases(config, allow_writable).history(limit)
        if as_json:
            print_json([run.to_json() for run in runs])
            return
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("#", "at", "phase", "release", "status", "who", "notes"):
            table.add_column(column, overflow="fold")
        for run in runs:
            at = datetime.fromtimestamp(run.started_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
            forced = run.detail.get("forced")
            notes = [f"forced: {', '.join(map(str, forced))}"] if isinstance(forced, list) and forced else []
            notes += [str(run.detail["error"])] if "error" in run.detail else []
            table.add_row(str(run.id), at, run.phase, run.release, run.status, run.who, "; ".join(notes))
        console().print(table)


def resolve(
    revision_id: Annotated[str, typer.Argument(metavar="REVISION", help="the revision")],
    position: Annotated[int, typer.Argument(help="number of the statement in it")],
    done: Annotated[bool, typer.Option("--done/--undone", help="whether it took effect")],
    config: Config = DEFAULT,
    allow_writable: Writable = False,
) -> None:
    """Say whether an interrupted statement took effect, where the schema does not tell."""
    with told():
        _phases(config, allow_writable).resolve(revision_id, position, happened=done)
        console().print(f"noted; run the phase again to go on behind statement {position}")


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong, in words, and its exit code."""
    try:
        from hitless.schema import SchemaError
    except ModuleNotFoundError as error:
        errors().print(
            f"hitless: db needs {error.name}; install it with: pip install 'hitless[schema]'", markup=False
        )
        raise typer.Exit(int(ExitCode.FAILED)) from error
    try:
        yield
    except SchemaError as error:
        errors().print(f"hitless: {error.message}", markup=False)
        if error.detail:
            errors().print(error.detail, markup=False, style="dim")
        raise typer.Exit(int(error.exit_code)) from error
    except ConfigError as error:
        errors().print(str(error), markup=False)
        raise typer.Exit(int(ExitCode.INVALID)) from error


def _phases(config: Path, allow_writable: bool, listener: Listener | None = None) -> AnyPhases:
    from hitless.schema import open_phases, read_settings

    loaded = read_settings(config, os.environ, allow_writable=allow_writable)
    return open_phases(loaded.settings, config.parent, listener)


def _run(config: Path, allow_writable: bool, as_json: bool, phase: Callable[[AnyPhases], Report]) -> None:
    with told(), shown(quiet=as_json) as listener:
        report = phase(_phases(config, allow_writable, listener))
    if as_json:
        print_json(report.to_json())
        return
    parts = [f"{len(report.revisions)} revisions"] if report.phase != "migrate" else []
    parts += [f"{name}: {rows} rows" for name, rows in report.rows.items()]
    parts += [f"{report.passed_over} statements had been done before"] if report.passed_over else []
    parts += [f"overridden: {', '.join(report.forced)}"] if report.forced else []
    said = "; ".join(parts) or "nothing to do"
    console().print(
        f"[bold green]{report.phase}[/] of release {report.release}: {said} ({report.seconds:.1f} s)"
    )
