"""The log of a service: one line per event, text or JSON, from the supervisor alone.

A line reads as subject, what identifies it, verb, the rest:

    2026-01-01T12:00:00.123Z info    worker=3 generation=2 pid=4711 died how="was killed by SIGSEGV"

The words are stable: tests and operators match them. Applications log as they like; their standard error goes to the same file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import structlog

from hitless.change import Event, Refused
from hitless.serve.settings import Log

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_IDENTITY: Final = ("worker", "generation", "pid", "change")
_WARNINGS: Final = frozenset(
    {
        "worker.died",
        "worker.exhausted",
        "template.died",
        "template.unforkable",
        "connection.cut",
        "mending.failed",
        "change.rejected",
        "change.rolled_back",
        "settings.refused",
        "journal.unwritable",
        "watch.failed",
        "signal.refused",
    }
)
_DEBUG: Final = frozenset({"change.prepared", "worker.ended"})


class LogFile:
    """Where lines go: standard error, or a file that can be re-opened after it was rotated."""

    def __init__(self) -> None:
        self.fd: int | None = None

    @staticmethod
    def check(log: Log) -> None:
        """Raises Refused if the file of `log` could not be opened."""
        if log.file is not None:
            os.close(_open(log.file))

    def open(self, log: Log) -> None:
        """Standard output and error go to `log.file` from now on.

        Raises:
            Refused: it cannot be opened; lines go where they went.
        """
        if log.file is None:
            return
        fd = _open(log.file)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        if self.fd is not None:
            os.close(self.fd)
        self.fd = fd


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise Refused("log_unwritable", f"cannot open log.file {path}: {error.strerror}") from error


class Logger:
    """Writes events as lines."""

    def __init__(self, log: Log, *, stream: TextIO = sys.stderr) -> None:
        self._stream: Final = stream
        self.configure(log)

    def configure(self, log: Log) -> None:
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(self._stream),
            processors=[_render_json if log.format == "json" else _render_text],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[log.level]),
        )

    def event(self, event: Event) -> None:
        level = "warning" if event.name in _WARNINGS else "debug" if event.name in _DEBUG else "info"
        fields = {name: value for name, value in event.fields.items() if value is not None}
        getattr(self._log, level)(event.name, at=event.at, level=level, fields=fields)


def _render_json(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> str:
    import json

    line = {"at": _time(entry["at"]), "level": entry["level"], "event": entry["event"], **entry["fields"]}
    return json.dumps(line, default=str)


def _render_text(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> str:
    fields: Mapping[str, Any] = entry["fields"]
    subject, _, verb = entry["event"].partition(".")
    named = [f"{name}={_shown(fields[name])}" for name in _IDENTITY if name in fields]
    head = named if subject in fields else [subject, *named]
    rest = [f"{name}={_shown(value)}" for name, value in fields.items() if name not in _IDENTITY]
    return f"{_time(entry['at'])} {entry['level']:<7} {' '.join([*head, verb.replace('_', ' '), *rest])}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shown(item)}" for name, item in value.items()) + "}"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return f'"{text}"' if " " in text or not text or "\n" in text else text
