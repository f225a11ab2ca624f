"""The command line: parses, calls, prints. No logic of its own."""

from __future__ import annotations

from hitless.cli.app import main

__all__ = ["main"]
