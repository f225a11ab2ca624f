"""How the stop of one container came out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hitless.change import JSON, ExitCode


class Ended(StrEnum):
    """What became of the container."""

    CLEAN = "clean"
    """It ended by itself, in time, with an exit code that says that all is well."""
    FORCED = "forced"
    """It was still running when its time was over, and we killed it."""
    REFUSED = "refused"
    """It was not stopped and runs on: it did not end and was to be left, or the stop was cancelled, or its drain failed."""
    LOST = "lost"
    """It ended otherwise than it should: a bad exit code, out of memory, killed or removed by somebody else."""
    ALREADY_STOPPED = "already_stopped"
    """There was nothing to stop."""


REASONS: Final = {
    "deadline": "it did not end in time",
    "exit_code": "it ended by itself, with an exit code that is not accepted",
    "oom": "the kernel killed a process of it for want of memory",
    "killed": "somebody else killed it",
    "removed": "somebody else removed it while it was being stopped",
    "gone": "there is no such container",
    "resurrected": "it ended, and something started it again",
    "restarting": "it was between two attempts of the engine to restart it, and had no process",
    "cancelled": "the stop was cancelled",
    "drain_failed": "its drain step failed",
    "unkillable": "it was sent SIGKILL and did not end",
    "used": "containers that use it still run",
    "in_progress": "another process is stopping or replacing it",
    "engine_gone": "the engine did not answer any more",
    "engine_refused": "the engine refused what it was asked",
    "state_unwritable": "what was about to be done could not be written down first",
    "tied": "others live in its namespaces, or it is in a pod, so that no new one can take its place",
    "still_drained": "it serves, and its balancer could not be told",
    "conflict": "old and new cannot run side by side, and the old one could not come back",
}
"""Every reason there is, and what it means."""

EXIT_CODES: Final = {
    Ended.CLEAN: ExitCode.DONE,
    Ended.ALREADY_STOPPED: ExitCode.DONE,
    Ended.FORCED: ExitCode.DEADLINE,
    Ended.REFUSED: ExitCode.REJECTED,
    Ended.LOST: ExitCode.FAILED,
}

EXIT_OF_REASON: Final = {
    "gone": ExitCode.NOBODY,
    "engine_gone": ExitCode.NOBODY,
    "in_progress": ExitCode.BUSY,
    "still_drained": ExitCode.FAILED,
}


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One signal that was sent."""

    signal: str
    at_s: float
    """Seconds after the stop began."""
    waited_s: float

    def to_json(self) -> dict[str, JSON]:
        return {"signal": self.signal, "at_s": round(self.at_s, 3), "waited_s": round(self.waited_s, 3)}


@dataclass(frozen=True, slots=True)
class StopOutcome:
    """Everything that is known when it is over."""

    container: str
    id: str
    ended: Ended
    reason: str | None
    """One of REASONS; None for a clean end."""
    message: str
    exit_code: int | None = None
    """None if it still runs, or nobody knows."""
    oom: bool = False
    seconds: float = 0.0
    drained_s: float = 0.0
    """How much of it the drain took."""
    steps: tuple[StepTaken, ...] = ()
    notes: tuple[str, ...] = ()
    """What an operator should know besides: it was unpaused, its restart policy could not be set aside, …"""
    log: tuple[str, ...] = ()
    """Its last lines, unless the end was clean."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing of its work can have been cut."""
        return self.ended in (Ended.CLEAN, Ended.ALREADY_STOPPED)

    @property
    def is_stopped(self) -> bool:
        """Whether it is known not to run any more."""
        return self.ended is not Ended.REFUSED and self.reason not in ("resurrected", "engine_gone")

    @property
    def exit(self) -> ExitCode:
        """What a command exits with because of it."""
        return EXIT_OF_REASON.get(self.reason or "", EXIT_CODES[self.ended])

    def to_json(self) -> dict[str, JSON]:
        return {
            "container": self.container,
            "id": self.id,
            "outcome": self.ended.value,
            "reason": self.reason,
            "message": self.message,
            "exit_code": self.exit_code,
            "oom": self.oom,
            "seconds": round(self.seconds, 3),
            "drained_s": round(self.drained_s, 3),
            "steps": [step.to_json() for step in self.steps],
            "notes": list(self.notes),
            "log": list(self.log),
        }


def worst(outcomes: list[ExitCode]) -> ExitCode:
    """One exit code for many: the first of failed, forced, refused, busy, missing, invalid that there is."""
    order = (
        ExitCode.FAILED,
        ExitCode.DEADLINE,
        ExitCode.REJECTED,
        ExitCode.BUSY,
        ExitCode.NOBODY,
        ExitCode.INVALID,
    )
    return next((code for code in order if code in outcomes), ExitCode.DONE)
