"""What can go wrong with a schema change; each kind has the exit code that a command ends with."""

from __future__ import annotations

from typing import ClassVar, Final

from hitless.change import ExitCode


class SchemaError(Exception):
    """A schema change that was not made, or not finished. `reason` is a stable label, the text one sentence."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, reason: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.reason: Final = reason
        self.message: Final = message
        self.detail: Final = detail


class Invalid(SchemaError):
    """What was asked for, or the migrations' folder, is wrong in itself."""

    exit_code = ExitCode.INVALID


class Rejected(SchemaError):
    """A gate did not hold; nothing was changed."""

    exit_code = ExitCode.REJECTED


class LockTimeout(SchemaError):
    """A table stayed in use through every attempt; nothing waits for it any more."""

    exit_code = ExitCode.DEADLINE


class Late(SchemaError):
    """A deadline has passed; what was done stays done, and the next run goes on from there."""

    exit_code = ExitCode.DEADLINE


class Busy(SchemaError):
    """Another schema change is in progress."""

    exit_code = ExitCode.BUSY


class Unreachable(SchemaError):
    """The database does not answer."""

    exit_code = ExitCode.NOBODY


class LeaseLost(SchemaError):
    """Somebody else may be changing the schema by now; this run stops where it is."""

    def __init__(self, message: str) -> None:
        super().__init__("lease_lost", message)
