"""`hitless`: all command groups together."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final

import typer

from hitless import __version__
from hitless.change import ExitCode
from hitless.cli.output import fail
from hitless.control import ControlError

HELP = """Change a running Python service without losing a request.

Exit codes: 0 done, 1 failed, 2 wrong usage or invalid configuration, 3 rejected (the old generation still serves), \
4 deadline passed, 5 another change is in progress, 6 no such service.
"""

GROUPS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "serving": ("serve", "check", "unit", "run"),
        "changes": ("reload", "rollback", "scale", "upgrade", "stop"),
        "looking": ("status", "diff", "history", "metrics", "services"),
        "containers": ("containers",),
        "db": ("db",),
        "rollout": ("rollout",),
        "agent": ("agent",),
        "demo": ("demo",),
    }
)
"""Which file of this package has which commands: who asks for one loads one, for `hitless status` is typed in a hurry."""


def build(command: str | None = None) -> typer.Typer:
    """All commands, or those of the group that `command` is in."""
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

    alone = [name for name, commands in GROUPS.items() if command in commands]
    for name in alone or GROUPS:
        import_module(f"hitless.cli.{name}").add_to(app)
    return app


def main() -> int:
    """Runs the command of `sys.argv`; returns its exit code."""
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else None)(standalone_mode=True)
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
