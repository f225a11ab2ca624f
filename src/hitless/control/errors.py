"""What can go wrong between a command and a service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hitless.change import JSON, ExitCode


class ControlError(Exception):
    """An error that is told to the other side: a stable `code`, a sentence, and perhaps more."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, code: str, message: str, detail: JSON = None) -> None:
        super().__init__(message)
        self.code: Final = code
        self.message: Final = message
        self.detail: Final = detail


class NoSuchService(ControlError):
    """Nothing listens there."""

    exit_code = ExitCode.NOBODY

    def __init__(self, message: str, services: Sequence[str] = ()) -> None:
        super().__init__("no_such_service", message, list(services))
        self.services: Final = tuple(services)


class ControlTimeout(ControlError):
    """The service did not answer in time; what was asked may still be going on there."""

    exit_code = ExitCode.DEADLINE

    def __init__(self, message: str) -> None:
        super().__init__("timeout", message)


class ServiceRunning(ControlError):
    """Another living process has this control socket."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = f"as pid {pid}" if pid else "as another process"
        super().__init__(
            "service_running", f"the service with the control socket {path} is already running {who}"
        )
        self.path: Final = path
        self.pid: Final = pid


class UnusablePath(ControlError):
    """A control socket cannot be, or must not be, at this place."""

    def __init__(self, message: str) -> None:
        super().__init__("unusable_path", message)
