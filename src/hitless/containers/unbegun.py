"""Outcomes of what was not even begun."""

from __future__ import annotations

from collections.abc import Sequence

from hitless.change import ExitCode
from hitless.containers.errors import ContainersError, EngineUnreachable, NoSuchContainer, StateUnwritable
from hitless.containers.outcome import Ended, StopOutcome
from hitless.containers.target import Target


def not_begun(target: Target, error: ContainersError) -> StopOutcome:
    """The outcome where nothing was done."""
    if isinstance(error, NoSuchContainer):
        return _outcome(target, Ended.LOST, "gone", f"there is no container {target.name} any more")
    return _outcome(target, Ended.REFUSED, label_of(error), str(error))


def used(target: Target, users: Sequence[StopOutcome]) -> StopOutcome | None:
    still = [user.container for user in users if not user.is_stopped]
    if not still:
        return None
    message = f"{target.name} was not stopped, because {', '.join(still)}, which use it, still run"
    return _outcome(target, Ended.REFUSED, "used", message)


def label_of(error: ContainersError) -> str:
    """The reason that an error gives an outcome."""
    if error.exit_code is ExitCode.BUSY:
        return "in_progress"
    if isinstance(error, NoSuchContainer):
        return "gone"
    if isinstance(error, StateUnwritable):
        return "state_unwritable"
    return "engine_gone" if isinstance(error, EngineUnreachable) else "engine_refused"


def _outcome(target: Target, ended: Ended, reason: str, message: str) -> StopOutcome:
    return StopOutcome(target.name, target.container.id, ended, reason, message)
