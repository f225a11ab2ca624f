"""`hitless demo`: shows the main job on real input."""

from __future__ import annotations

from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    part: Annotated[
        str | None, typer.Argument(help="which demonstration; all that there are if not given")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object per part")] = False,
) -> None:
    """Run a real service under load and change everything about it; exit 1 if anything failed."""
    from hitless.demo import run

    raise typer.Exit(run(part, as_json=as_json))
