"""How an attempted change ended, and what a command exits with because of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from hitless.change.plan import Difference
from hitless.change.wire import JSON

REASON: Final = re.compile(r"[a-z_]+")


class Status(StrEnum):
    """What became of the attempt."""

    APPLIED = "applied"
    """The new generation serves."""
    UNCHANGED = "unchanged"
    """There was nothing to change; the same generation serves."""
    REJECTED = "rejected"
    """The new was refused or could not be built; the old never noticed."""
    ROLLED_BACK = "rolled_back"
    """The swap was begun, failed, and was undone; the old serves again."""


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    INVALID = 2
    """Wrong usage, or a configuration that is not valid."""
    REJECTED = 3
    """The change was rejected or rolled back; the old generation still serves."""
    DEADLINE = 4
    BUSY = 5
    """Another change is in progress."""
    NOBODY = 6
    """Nothing to talk to: no such service."""


class Refused(Exception):
    """Raised by a change's plan or prepare: this must not be done, and this is why.

    `reason` is a stable label for metrics and scripts, `message` one lowercase sentence for people,
    `detail` more lines (a traceback, a log). `invalid` says that what was asked for is wrong in itself:
    exit code 2 instead of 3. `differences`, from a plan: what differed, for the journal and for people.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        detail: str = "",
        *,
        invalid: bool = False,
        differences: tuple[Difference, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason: Final = _checked(reason)
        self.message: Final = message
        self.detail: Final = detail
        self.invalid: Final = invalid
        self.differences: Final = differences


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt, as told to whoever asked, to the journal and to events."""

    status: Status
    generation: int
    """The generation that serves now."""
    reason: str | None
    """A stable label (`[a-z_]+`); None where the change did what was asked."""
    message: str
    detail: str = ""
    invalid: bool = False
    change: int | None = None
    """The number of the journal's row; None if there is none."""

    def __post_init__(self) -> None:
        if self.reason is not None:
            _checked(self.reason)

    @classmethod
    def applied(cls, generation: int, message: str = "") -> Outcome:
        return cls(Status.APPLIED, generation, None, message or f"generation {generation} serves")

    @classmethod
    def unchanged(cls, generation: int, message: str = "") -> Outcome:
        return cls(
            Status.UNCHANGED,
            generation,
            None,
            message or f"nothing to change; generation {generation} serves",
        )

    @classmethod
    def rejected(
        cls, generation: int, *, reason: str, message: str, detail: str = "", invalid: bool = False
    ) -> Outcome:
        return cls(Status.REJECTED, generation, reason, message, detail, invalid)

    @classmethod
    def rolled_back(cls, generation: int, *, reason: str, message: str, detail: str = "") -> Outcome:
        return cls(Status.ROLLED_BACK, generation, reason, message, detail)

    @property
    def is_good(self) -> bool:
        """Whether what was asked for is now so."""
        return self.status in (Status.APPLIED, Status.UNCHANGED)

    @property
    def exit_code(self) -> ExitCode:
        if self.is_good:
            return ExitCode.DONE
        return ExitCode.INVALID if self.invalid else ExitCode.REJECTED

    def to_json(self) -> dict[str, JSON]:
        return {
            "status": self.status.value,
            "generation": self.generation,
            "reason": self.reason,
            "message": self.message,
            "detail": self.detail,
            "invalid": self.invalid,
            "change": self.change,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, JSON]) -> Outcome:
        """The outcome that `to_json` wrote, perhaps by an older or newer version: unknown keys are passed over.

        Raises:
            ValueError: a key is missing or holds something else.
        """
        match data:
            case {"status": str(status), "generation": int(generation), "message": str(message)}:
                reason, change = data.get("reason"), data.get("change")
                return cls(
                    Status(status),
                    generation,
                    reason if isinstance(reason, str) else None,
                    message,
                    str(data.get("detail") or ""),
                    data.get("invalid") is True,
                    change if isinstance(change, int) else None,
                )
            case _:
                raise ValueError(f"not an outcome: {dict(data)!r}")


def _checked(reason: str) -> str:
    if not REASON.fullmatch(reason):
        raise ValueError(f"a reason is a label of lowercase letters and underscores, not {reason!r}")
    return reason
