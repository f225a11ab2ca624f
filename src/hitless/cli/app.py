"""`hitless`: all command groups together."""

from __future__ import annotations

import sys

import typer

from hitless import __version__
from hitless.change import ExitCode
from hitless.cli import agent, changes, containers, db, demo, looking, rollout, serving
from hitless.cli.output import fail
from hitless.control import ControlError

HELP = """Change a running Python service without losing a request.

Exit codes: 0 done, 1 failed, 2 wrong usage or invalid configuration, 3 rejected (the old generation still serves), \
4 deadline passed, 5 another change is in progress, 6 no such service.
"""


def build() -> typer.Typer:
    app = typer.Typer(
        name="hitless", help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )

    def version(value: bool) -> None:
        if value:
            typer.echo(f"hitless {__version__}")
            raise typer.Exit

    @app.callback()
    def common(
        version: bool = typer.Option(
            False, "--version", callback=version, is_eager=True, help="print the version"
        ),
    ) -> None:
        pass

    for group in (serving, changes, looking, containers, db, rollout, agent, demo):
        group.add_to(app)
    return app


def main() -> int:
    """Runs the command of `sys.argv`; returns its exit code."""
    try:
        build()(standalone_mode=True)
    except ControlError as error:
        return fail(error)
    except KeyboardInterrupt:
        return 130
    except SystemExit as ended:
        code = ended.code
        return code if isinstance(code, int) else int(ExitCode.FAILED) if code else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
