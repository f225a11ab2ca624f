"""How a restart or a replacement of one container came out."""

from __future__ import annotations

from dataclasses import dataclass

from hitless.change import JSON, ExitCode, Status
from hitless.containers.outcome import EXIT_OF_REASON, StopOutcome

EXITS = {
    Status.APPLIED: ExitCode.DONE,
    Status.UNCHANGED: ExitCode.DONE,
    Status.REJECTED: ExitCode.REJECTED,
    Status.ROLLED_BACK: ExitCode.REJECTED,
}


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """Whether the new one serves, and how the old one was stopped."""

    container: str
    status: Status
    """applied: the new one serves; unchanged: it already did; rejected: the old one never stopped; rolled_back: it did,
    and serves again."""
    reason: str | None
    message: str
    id: str
    """Of the container that has the name now."""
    stop: StopOutcome | None = None
    seconds: float = 0.0
    down_s: float = 0.0
    """How long none of the two was serving."""
    log: tuple[str, ...] = ()
    """The last lines of a new container that failed."""
    order: str = ""
    """`new_first` or `old_first`, of a replacement."""

    @property
    def is_clean(self) -> bool:
        """Whether what was asked for is so, and nothing can have been cut on the way."""
        return self.exit is ExitCode.DONE

    @property
    def exit(self) -> ExitCode:
        code = EXIT_OF_REASON.get(self.reason or "", EXITS[self.status])
        if code is not ExitCode.DONE or self.stop is None:
            return code
        return self.stop.exit

    def to_json(self) -> dict[str, JSON]:
        return {
            "container": self.container,
            "status": self.status.value,
            "reason": self.reason,
            "message": self.message,
            "id": self.id,
            "stop": None if self.stop is None else self.stop.to_json(),
            "seconds": round(self.seconds, 3),
            "down_s": round(self.down_s, 3),
            "log": list(self.log),
            "order": self.order,
        }
