"""What makes samples and events of notifications. Others come as entry points of the group `hitless.listener`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from hitless.agent.event import Event
from hitless.agent.filters import Filter
from hitless.agent.flaws import flaw_of
from hitless.agent.notifications.notification import Notification
from hitless.agent.sample import Sample

Made: TypeAlias = Iterable[Sample | Event]
Make: TypeAlias = Callable[[Notification], Made]


class EndpointFailed(Exception):
    """An endpoint raised; the message says which and what."""


class Endpoint:
    """`make` is called in threads: in several at once where there are several brokers.

    What raises is tried again, and then goes to the dead-letter queue: raise when the notification is wrong, not when it is
    of no interest.
    """

    def __init__(self, make: Make, events: Sequence[str], priorities: Sequence[str]) -> None:
        self.name: Final = getattr(make, "__name__", type(make).__name__)
        self.priorities: Final = frozenset(priorities)
        self._make: Final = make
        self._filter: Final = Filter(events)

    def takes(self, event_type: str, priority: str) -> bool:
        return priority in self.priorities and self._filter.takes(event_type)

    def make(self, notification: Notification) -> list[Sample | Event]:
        """Raises EndpointFailed."""
        try:
            made = list(self._make(notification))
        except Exception as error:
            raise EndpointFailed(f"{self.name}: {type(error).__name__}: {error}") from error
        flaw = next((flaw for each in made if (flaw := flaw_of(each)) is not None), None)
        if flaw is not None:
            raise EndpointFailed(f"{self.name}: {flaw}")
        return made


def endpoint(
    *, events: Sequence[str] = ("*",), priorities: Sequence[str] = ("info",)
) -> Callable[[Make], Endpoint]:
    """Make an endpoint of a function. `events`: names, globs or `!` exclusions of event types."""
    return lambda make: Endpoint(make, events, priorities)
