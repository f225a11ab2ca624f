"""What can go wrong between us and a load balancer. Every message is one sentence that says what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from hitless.change import ExitCode
from hitless.rollout.balancers.balancer import Session

NAMED: Final = 5
"""How many sessions a message names."""


class BalancerError(Exception):
    """The balancer did not do, or did not say, what it was asked. `reason` is a stable label."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    reason: ClassVar[str] = "balancer"


class BalancerUnreachable(BalancerError):
    """An instance does not answer, or what it answers cannot be understood."""

    exit_code = ExitCode.NOBODY
    reason = "balancer_unreachable"


class BalancerRefused(BalancerError):
    """An instance answered with an error."""

    reason = "balancer_refused"


class NoSuchServer(BalancerError):
    """The balancer has no server of this name, or more than one."""

    exit_code = ExitCode.INVALID
    reason = "no_such_server"


class InstancesDiffer(BalancerError):
    """The instances of one balancer do not say the same of a server."""

    reason = "instances_differ"


class DrainLate(BalancerError):
    """A server still has work at the deadline; it stays draining."""

    exit_code = ExitCode.DEADLINE
    reason = "drain_late"

    def __init__(self, server: str, count: int, *, seconds: float, sessions: Sequence[Session] = ()) -> None:
        self.server: Final = server
        self.count: Final = count
        """Sessions and queued requests that are left."""
        self.sessions: Final = tuple(sorted(sessions, key=lambda each: -each.age_s))
        """Those that the balancer can name, the oldest first."""
        super().__init__(f"{server} still has {count} sessions after {seconds:g} s{self._oldest()}")

    def _oldest(self) -> str:
        if not self.sessions:
            return ""
        named = ", ".join(str(each) for each in self.sessions[:NAMED])
        return f"; the oldest: {named}"
