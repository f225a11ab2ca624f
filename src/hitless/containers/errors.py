"""What can go wrong between us and a container engine. Every message is one sentence that says what to do next."""

from __future__ import annotations

from typing import Final

from hitless.change import ExitCode


class ContainersError(Exception):
    """Whatever this package raises."""

    exit_code: ExitCode = ExitCode.FAILED


class EngineError(ContainersError):
    """The engine did not do what it was asked."""


class EngineUnreachable(EngineError):
    """Nobody answers at the engine's socket, or the connection broke before the answer came."""

    exit_code = ExitCode.NOBODY

    def __init__(self, message: str, *, was_sent: bool = False) -> None:
        super().__init__(message)
        self.was_sent: Final = was_sent
        """Whether the engine may have read the request, and may still do it."""


class EngineTimeout(EngineUnreachable):
    """The engine took the request and did not answer in time; it may still do what it was asked."""

    exit_code = ExitCode.DEADLINE

    def __init__(self, message: str) -> None:
        super().__init__(message, was_sent=True)


class EngineRefused(EngineError):
    """The engine answered with an error; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status


class NoSuchContainer(EngineRefused):
    """There is no container of this name or id."""

    exit_code = ExitCode.NOBODY


class NoSuchImage(EngineRefused):
    """The engine does not have this image."""

    exit_code = ExitCode.INVALID


class NotRunning(EngineRefused):
    """The container has no process to signal (409)."""


class Ambiguous(ContainersError):
    """A name may mean several containers."""

    exit_code = ExitCode.INVALID


class StopInProgress(ContainersError):
    """Another Hitless stops or replaces this container just now."""

    exit_code = ExitCode.BUSY


class NoSuchStop(ContainersError):
    """There is no stop that could be extended or cancelled."""

    exit_code = ExitCode.NOBODY


class StateUnwritable(ContainersError):
    """What is about to be done cannot be written down, so that it is not begun."""


class InvalidParameters(ContainersError):
    """A label, an option or a container's own configuration makes no sense."""

    exit_code = ExitCode.INVALID
