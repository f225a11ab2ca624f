"""From what was seen to a verdict. Everything that decides how a stop came out stands in this file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from hitless.containers.container import Container
from hitless.containers.outcome import Ended, StepTaken, StopOutcome
from hitless.containers.sequence import Sequence
from hitless.containers.signals import KILL

KILLED: Final = 137
"""128 + SIGKILL."""


@dataclass(slots=True)
class Evidence:
    """What was seen and done during one stop."""

    before: Container
    sequence: Sequence
    found: Container | None = None
    """The last look at it, if that showed an end."""
    gone: bool = False
    came_back: bool = False
    had_nothing: bool = False
    was_restarting: bool = False
    """It was between two starts when we came."""
    was_restarted: bool = False
    """The engine started it again, and we stopped it again: what counts is how it ended the first time."""
    cancelled: bool = False
    drain_failure: str = ""
    unseen: str = ""
    """Why the engine could not be asked, the last time."""
    engine_said: str = ""
    """Why it refused to send a signal."""
    drained_s: float = 0.0
    oom_kills: int = 0
    """By the kernel, anywhere on this machine, while the stop went on."""
    ends: tuple[int, ...] = ()
    """Exit codes that events told of."""
    steps: list[StepTaken] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    log: tuple[str, ...] = ()

    def took(self, step: StepTaken) -> None:
        self.steps.append(step)

    def waited(self, seconds: float) -> None:
        """The last step was waited for this long."""
        if self.steps:
            self.steps[-1] = replace(self.steps[-1], waited_s=self.steps[-1].waited_s + seconds)

    @property
    def was_killed_by_us(self) -> bool:
        return any(step.signal == KILL for step in self.steps)

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or where nobody knows."""
        if self.was_restarted:
            return self.ends[0]
        if self.gone or self.came_back:
            return self.ends[-1] if self.ends else None
        return None if self.found is None else self.found.exit_code

    @property
    def oom(self) -> bool:
        """Whether something in it was killed for want of memory since we began."""
        if self.found is None or self.before.oom:
            return False
        if self.found.oom:
            return True
        # Not every engine records it. With a limit, killed, not by us, and the kernel did kill: what else.
        killed = self.found.exit_code == KILLED and not self.was_killed_by_us
        return killed and self.before.memory_limit > 0 and self.oom_kills > 0

    @property
    def wants_log(self) -> bool:
        """Whether its last lines are worth reading: not where it ended as it should."""
        if self.had_nothing or self.gone:
            return False
        code = self.exit_code
        return code is None or self.oom or not self.sequence.accepts(code)


Verdict = tuple[Ended, str | None, str]
"""What became of it, the reason's label, and the sentence for people."""


def judged(evidence: Evidence, *, seconds: float) -> StopOutcome:
    """The outcome that this evidence shows."""
    ended, reason, message = _verdict(evidence, seconds)
    return StopOutcome(
        container=evidence.before.name,
        id=evidence.before.id,
        ended=ended,
        reason=reason,
        message=message,
        exit_code=evidence.exit_code,
        oom=evidence.oom,
        seconds=seconds,
        drained_s=evidence.drained_s,
        steps=tuple(evidence.steps),
        notes=tuple(evidence.notes),
        log=evidence.log,
    )


def _verdict(evidence: Evidence, seconds: float) -> Verdict:
    name = evidence.before.name
    if evidence.had_nothing:
        return Ended.ALREADY_STOPPED, None, f"{name} was {evidence.before.state}, not running"
    if evidence.was_restarting and evidence.found is not None:
        said = "was between two restarts; the engine does not start it any more"
        return Ended.ALREADY_STOPPED, "restarting", f"{name} {said}"
    if evidence.was_restarted and evidence.found is not None and not evidence.found.is_running:
        return _exited(evidence, evidence.ends[0], seconds)
    if evidence.came_back:
        return (
            Ended.LOST,
            "resurrected",
            (
                f"{name} ended, and runs again; look for what starts it (systemd, an agent, its restart policy"
                f" {evidence.before.policy}), stop that, and stop {name} again"
            ),
        )
    if evidence.gone:
        return _gone(evidence, seconds)
    if evidence.found is None:
        return _runs_on(evidence)
    return _exited(evidence, evidence.found.exit_code, seconds)


def _gone(evidence: Evidence, seconds: float) -> Verdict:
    """It was removed: by the engine, as it was told when it was created, or by somebody."""
    if evidence.before.auto_remove and evidence.ends:
        return _exited(evidence, evidence.ends[-1], seconds)
    how = "" if not evidence.ends else f"; it had ended with exit code {evidence.ends[-1]}"
    return Ended.LOST, "removed", f"{evidence.before.name} was removed while it was being stopped{how}"


def _exited(evidence: Evidence, code: int, seconds: float) -> Verdict:
    name = evidence.before.name
    if evidence.oom:
        return (
            Ended.LOST,
            "oom",
            (
                f"{name} ran out of memory while it was being stopped (exit code {code}); raise its memory limit"
            ),
        )
    if code == KILLED and evidence.was_killed_by_us:
        waited = sum(step.waited_s for step in evidence.steps if step.signal != KILL)
        return (
            Ended.FORCED,
            "deadline",
            (
                f"{name} did not end within {waited:.0f} s and was killed; give it longer, or look at what it waits for"
            ),
        )
    if evidence.sequence.accepts(code):
        return Ended.CLEAN, None, f"{name} ended by itself after {seconds:.1f} s (exit code {code})"
    if code == KILLED:
        return Ended.LOST, "killed", f"{name} was killed by somebody else after {seconds:.1f} s"
    return (
        Ended.LOST,
        "exit_code",
        (f"{name} ended with exit code {code}; see its log, or add {code} to accept if that is how it ends"),
    )


def _runs_on(evidence: Evidence) -> Verdict:
    name = evidence.before.name
    if evidence.unseen:
        return Ended.LOST, "engine_gone", f"nobody knows what became of {name}: {evidence.unseen}"
    if evidence.cancelled:
        sent = ", ".join(step.signal for step in evidence.steps)
        after = f"; {sent} had been sent, so it may still end" if sent else ""
        return Ended.REFUSED, "cancelled", f"the stop of {name} was cancelled{after}"
    if evidence.drain_failure:
        return Ended.REFUSED, "drain_failed", f"{name} was not stopped: {evidence.drain_failure}"
    if evidence.engine_said and evidence.was_killed_by_us:
        return Ended.REFUSED, "engine_refused", f"the engine does not signal {name}: {evidence.engine_said}"
    if evidence.was_killed_by_us:
        return (
            Ended.REFUSED,
            "unkillable",
            (f"{name} was sent SIGKILL and has not ended; it may wait for a disk or a network file system"),
        )
    return (
        Ended.REFUSED,
        "deadline",
        (
            f"{name} did not end in time and was left running, as at_end says; stop it again, or with --at-end kill"
        ),
    )
