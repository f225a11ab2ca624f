"""`hitless demo`: shows the main job on real input."""

from __future__ import annotations

from typing import Annotated

import typer

from hitless.change import ExitCode
from hitless.cli.output import errors


def add_to(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    part: Annotated[
        str | None, typer.Argument(help="which demonstration; all that there are if not given")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object per part")] = False,
) -> None:
    """Run a real service under load and change everything about it; exit 1 if anything failed."""
    try:
        from hitless.demo import run
    except ModuleNotFoundError as error:
        errors().print(
            f"hitless: the demo needs {error.name}; install it with: pip install 'hitless[serve]'",
            markup=False,
        )
        raise typer.Exit(int(ExitCode.FAILED)) from error

    raise typer.Exit(run(part, as_json=as_json))
