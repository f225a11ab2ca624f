"""What can go wrong with a rollout; each kind has the exit code that a command ends with."""

from __future__ import annotations

from typing import ClassVar, Final

from hitless.change import ExitCode


class RolloutError(Exception):
    """Something was not done. `reason` is a stable label, the text one sentence."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, reason: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.reason: Final = reason
        self.message: Final = message
        self.detail: Final = detail


class Invalid(RolloutError):
    """What was asked for is wrong in itself."""

    exit_code = ExitCode.INVALID


class Rejected(RolloutError):
    """A gate does not hold; what stands behind it was not touched."""

    exit_code = ExitCode.REJECTED


class Late(RolloutError):
    """A deadline has passed. What was done stays done."""

    exit_code = ExitCode.DEADLINE


class Busy(RolloutError):
    """Another runner is at work on this service."""

    exit_code = ExitCode.BUSY


class Unreachable(RolloutError):
    """A node, a balancer or the database does not answer."""

    exit_code = ExitCode.NOBODY


class Stopped(RolloutError):
    """Somebody asked for it: the rollout is paused or aborted, and is not done."""

    exit_code = ExitCode.REJECTED


class LeaseLost(RolloutError):
    """Somebody else may be rolling this service out by now; this runner does nothing more."""

    exit_code = ExitCode.BUSY
