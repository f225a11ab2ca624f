"""The log of a service: one line per event, text or JSON, from the supervisor alone.

A line reads as subject, what identifies it, verb, the rest:

    2026-01-01T12:00:00.123Z info    worker=3 generation=2 pid=4711 died how="was killed by SIGSEGV"

The words are stable: tests and operators match them. Applications log as they like; their standard error goes to the same file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

from hitless.change import JSON, Difference, Event, Refused, is_out_of_descriptors
from hitless.serve.settings import Log

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_IDENTITY: Final = ("worker", "generation", "pid", "change")
_NOT_TOLD: Final = (*_IDENTITY, "attempted_hash")
"""What does not follow the verb in a line for people: it stands before it, or is for machines."""
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
        """To be passed to other processes; None while everything goes where it went at the start."""
        self._first: int | None = None

    def freeze(self) -> dict[str, int | None]:
        return {"fd": self.fd, "first": self._first}

    def thaw(self, frozen: Mapping[str, int | None]) -> None:
        self.fd, self._first = frozen["fd"], frozen["first"]

    @staticmethod
    def check(log: Log) -> None:
        """Raises Refused if the file of `log` could not be opened."""
        if log.file is not None:
            os.close(_open(log.file))

    def open(self, log: Log) -> None:
        """Standard output and error go to `log.file` from now on; without one, to what was standard error at the start.

        Raises:
            Refused: it cannot be opened; lines go where they went.
        """
        if log.file is None and self._first is None:
            return
        if self._first is None:
            self._first = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
        fd = os.dup(self._first) if log.file is None else _open(log.file)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        if self.fd is not None:
            os.close(self.fd)
        self.fd = fd

    def tell_starter(self, text: str) -> None:
        """Writes to what was standard error at the start: whoever started the service may not look into `log.file`."""
        with contextlib.suppress(OSError):
            os.write(2 if self._first is None else self._first, text.encode(errors="backslashreplace"))


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        if is_out_of_descriptors(error):
            raise
        raise Refused("log_unwritable", f"cannot open log.file {path}: {error.strerror}") from error
    except ValueError:
        raise Refused("log_unwritable", f"cannot open log.file {path!r}: it has a NUL in it") from None


class Logger:
    """Writes events as lines.

    By hand: structlog would bring rich and pygments (6 MB) into a process that lives for months, for the sake of one
    comparison of levels.
    """

    def __init__(self, log: Log, *, stream: TextIO = sys.stderr) -> None:
        self._stream: Final = stream
        self.configure(log)

    def configure(self, log: Log) -> None:
        self._least = _LEVELS[log.level]
        self._render = _json_line if log.format == "json" else _text_line

    def event(self, event: Event) -> None:
        level = "warning" if event.name in _WARNINGS else "debug" if event.name in _DEBUG else "info"
        if _LEVELS[level] < self._least:
            return
        fields = {name: value for name, value in event.fields.items() if value not in (None, [])}
        self._stream.write(self._render(event, level, fields) + "\n")
        self._stream.flush()


def _json_line(event: Event, level: str, fields: Mapping[str, JSON]) -> str:
    return json.dumps({"at": _time(event.at), "level": level, "event": event.name, **fields}, default=str)


def _text_line(event: Event, level: str, fields: Mapping[str, JSON]) -> str:
    subject, _, verb = event.name.partition(".")
    named = [f"{name}={_shown(fields[name])}" for name in _IDENTITY if name in fields]
    head = named if subject in fields else [subject, *named]
    rest = [f"{name}={_shown(value)}" for name, value in fields.items() if name not in _NOT_TOLD]
    return f"{_time(event.at)} {level:<7} {' '.join([*head, verb.replace('_', ' '), *rest])}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: JSON) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shown(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        value = "; ".join(_item(each) for each in value)
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if not _is_quoted(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if quoted.isprintable() else json.dumps(text)


def _is_quoted(text: str) -> bool:
    """Whether the text would not end where the reader thinks it does; one line is one event, whatever stands in it."""
    return not text or '"' in text or not text.isprintable() or " " in text


def _item(value: JSON) -> str:
    match value:
        case {"key": str(key), "old": old, "new": new}:
            return str(Difference(key, old, new))
        case _:
            return str(value)
