"""What a worker writes by itself: failures of the application with their tracebacks, and the access log.

The supervisor logs everything else. Lines have the supervisor's shape (see `hitless.serve.logs`), made here with the standard
library alone, because this runs in the application's interpreter.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def print_line(line: str) -> None:
    """One write per line, so that lines of several processes do not mix.

    A line that cannot be written (the disk is full, whoever read the log is gone) is lost, and nothing else is.
    """
    with suppress(OSError):
        os.write(2, line.encode("utf-8", "backslashreplace") + b"\n")


def flush() -> None:
    """Writes what the application has printed, if that can be done: it may have closed or replaced the streams."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


class WorkerLog:
    """Called by the engine as `log(level, event, **fields)`; `exc_info` is an exception."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self._least: Final = _LEVELS[config["level"]]
        self._json: Final = config["format"] == "json"

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        if _LEVELS.get(level, 40) < self._least:
            return
        error = fields.pop("exc_info", None)
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        trace = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
        flush()
        if self._json:
            line = {"at": at, "level": level, "event": event, "pid": os.getpid(), **fields}
            print_line(json.dumps({**line, "traceback": trace} if trace else line, default=str))
            return
        rest = " ".join(f"{name}={_shown(value)}" for name, value in fields.items() if value is not None)
        print_line(
            f"{at} {level:<7} pid={os.getpid()} {event} {rest}".rstrip()
            + (f"\n{trace.rstrip()}" if trace else "")
        )


def _shown(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text or not text else text
