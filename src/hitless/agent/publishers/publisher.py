"""What a publisher is. Its factory is the entry point of the group `hitless.publisher` whose name is the URL's scheme."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeGuard

from hitless.agent.event import Event
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample


class Publisher(Protocol):
    """One per URL, shared by all sinks that name it. Methods are called one after the other, in a thread."""

    def open(self) -> None:
        """Get what is needed. Raises: it cannot be had; the change is then refused."""

    def publish(self, samples: Sequence[Sample]) -> None:
        """Take these. When it returns they are where they should be.

        Raises: they were not taken; the same samples are given again, so that some may arrive twice.
        """

    def close(self) -> None:
        """Nothing comes any more. Called once, after the last `publish`."""


class EventPublisher(Publisher, Protocol):
    """A publisher that can be used by sinks of events as well."""

    def publish_events(self, events: Sequence[Event]) -> None:
        """As `publish`."""


class ReachablePublisher(Publisher, Protocol):
    """A publisher that can be asked whether it would get through, before anything is sent."""

    def reach(self) -> None:
        """Try it, change nothing, keep nothing open. Raises: it would not."""


Factory: TypeAlias = Callable[[PublisherUrl], Publisher]
"""Checks the URL and its options, opens nothing. Raises ValueError: they are wrong."""


def takes_events(publisher: Publisher) -> TypeGuard[EventPublisher]:
    return callable(getattr(publisher, "publish_events", None))


def can_reach(publisher: Publisher) -> TypeGuard[ReachablePublisher]:
    return callable(getattr(publisher, "reach", None))
