"""What can go wrong before a command's exit code is known. Every message is one sentence that says what to do next."""

from __future__ import annotations

from typing import ClassVar, Final

from hitless.change import ExitCode


class ExecutorError(Exception):
    """A command has no exit code. `node` is the name of the node, `reason` a stable label."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    reason: ClassVar[str] = "executor"

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node: Final = node


class Unreachable(ExecutorError):
    """The node does not answer, or not as the one that it should be."""

    exit_code = ExitCode.NOBODY
    reason = "unreachable"

    def __init__(self, node: str, message: str, *, was_begun: bool = False) -> None:
        super().__init__(node, message)
        self.was_begun: Final = was_begun
        """Whether the command may have been begun, and may still run."""


class NotRun(ExecutorError):
    """The node answers, and the command could not be begun there."""

    exit_code = ExitCode.INVALID
    reason = "not_run"
