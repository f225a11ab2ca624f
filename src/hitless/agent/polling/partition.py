"""Which resources are this agent's to poll, where several agents share them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

from hitless.agent.polling.clock import Clock
from hitless.agent.polling.schedule import Schedule, Timetable
from hitless.change import digest

ID_LENGTH: Final = 16
GROUPS_KEPT: Final = 1024


class Partition(Protocol):
    def schedule(self, clock: Clock) -> Timetable:
        """When sources are due."""

    def owns(self, group_id: str, resource: str, at: float) -> bool:
        """Whether this agent polls the resource in the tick that was due at `at` (Unix time). Called on the event loop, for each
        resource of each poll: it must be quick.

        `group_id` says who shares it: that of the discovery that found it, or `static_group` of the resources that a source names.
        """


class Everything:
    """Of an agent that is alone."""

    def schedule(self, clock: Clock) -> Timetable:  # noqa: ARG002
        return Schedule()

    def owns(self, group_id: str, resource: str, at: float) -> bool:  # noqa: ARG002
        return True


@lru_cache(GROUPS_KEPT)
def static_group(resources: tuple[str, ...]) -> str:
    """The same in every process (Ceilometer's own is not: it hashes with a seed that each process has for itself)."""
    return f"static-{digest(sorted(resources))[:ID_LENGTH]}"
