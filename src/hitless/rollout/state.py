"""Where a node is on its way: everything that decides which step comes next stands in this file.

What is known of a node is what was just seen of it, and two hints of the journal that no look can replace: whether
we began to start it, and whether it failed its probes after that. From this follows, by one table, the step
that comes next; the steps before it are done, whoever did them. So a runner that was killed goes on where the world is,
not where its journal says that it was.

    seen                                         traffic           next
    runs the release                             ready             soak, or nothing if it has soaked
    runs the release, has failed its probes      not ready         stop: whoever resumes has changed something
    runs the release                             not ready         probe
    gone, the release is installed                                 start
    gone                                                           upgrade
    runs, does not say what, start was begun     not ready         probe
    runs another, or does not say what           not ready, idle   stop
    runs another, or does not say what           else              drain
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hitless.rollout.plan import OF_A_NODE, Kind

ORDER: Final = {kind: number for number, kind in enumerate(OF_A_NODE)}


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the balancers say of a node, all of them together."""

    is_ready: bool
    """Whether any of them sends it new work."""
    is_up: bool
    """Whether all of them send it work and take it for alive."""
    sessions: int
    """With what is queued for it."""

    @property
    def is_idle(self) -> bool:
        return not self.is_ready and not self.sessions


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a node."""

    node: str
    is_gone: bool
    """Whether no process of the service is left there."""
    release: str | None
    """What it says that it runs; None if it runs nothing, or does not say."""
    installed: str | None
    """What would be started; None if there is no way to ask."""
    traffic: Traffic | None
    """None if there are no balancers."""
    why: str = ""
    """Why it does not say its release, if it does not."""

    @property
    def is_serving(self) -> bool:
        return not self.is_gone and (self.traffic is None or self.traffic.is_ready)

    @property
    def is_idle(self) -> bool:
        """Whether nobody's work would be cut by stopping it. Without balancers nobody can say that it has some."""
        return self.traffic is None or self.traffic.is_idle

    def __str__(self) -> str:
        if self.is_gone:
            runs = "runs nothing" + (f", {self.installed} is installed" if self.installed else "")
        else:
            runs = (
                f"runs release {self.release}" if self.release else f"does not say its release ({self.why})"
            )
        return f"{runs}{self._traffic()}"

    def _traffic(self) -> str:
        if self.traffic is None:
            return ""
        if self.traffic.is_ready:
            return ", has traffic" if self.traffic.is_up else ", is down for a balancer"
        return f", draining {self.traffic.sessions} sessions" if self.traffic.sessions else ", has no traffic"


@dataclass(frozen=True, slots=True)
class Hints:
    """What only the journal can know."""

    start_begun: bool = False
    """In this turn, and its probes have not failed since."""
    probes_failed: bool = False
    has_soaked: bool = False


def next_kind(seen: Seen, release: str, hints: Hints) -> Kind | None:
    """The step that comes next on the way to a release; None if the node is there."""
    if seen.is_gone:
        return "start" if seen.installed == release else "upgrade"
    if seen.release == release:
        return _of_the_new(seen, hints)
    has_traffic = seen.traffic is not None and seen.traffic.is_ready
    if seen.release is None and hints.start_begun and not has_traffic:
        return "probe"
    return "stop" if seen.is_idle else "drain"


def _of_the_new(seen: Seen, hints: Hints) -> Kind | None:
    if hints.has_soaked and (seen.traffic is None or seen.traffic.is_ready):
        return None
    if seen.traffic is not None and seen.traffic.is_ready:
        return "soak"
    return "stop" if hints.probes_failed and seen.is_idle else "probe"


def is_behind(kind: Kind, upcoming: Kind | None) -> bool:
    """Whether a step of a node is done, where `upcoming` comes next."""
    return upcoming is None or ORDER[kind] < ORDER[upcoming]
