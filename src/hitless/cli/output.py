"""What commands print: people get sentences and tables, machines JSON; errors go to standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from hitless.change import ExitCode
from hitless.control import ControlError


def console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def errors() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def fail(error: ControlError) -> int:
    """Says what went wrong; returns the exit code."""
    errors().print(f"hitless: {error.message}", markup=False)
    return int(ExitCode.BUSY if error.code == "busy" else error.exit_code)
