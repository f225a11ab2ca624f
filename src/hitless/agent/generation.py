"""One generation of an agent's pipelines, as pollers and listeners see it: what to poll, and where to send what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hitless.agent.definition import Definition, PollingSource
from hitless.agent.event import Event
from hitless.agent.publishers.receipt import Receipt
from hitless.agent.routing import Router
from hitless.agent.sample import Sample


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything that is sent to it goes through its own transformers and outlets, whatever has been put in force since."""

    number: int
    definition: Definition
    samples: Router[Sample]
    events: Router[Event]

    @property
    def polling(self) -> Mapping[str, PollingSource]:
        return self.definition.polling

    async def send(self, samples: Sequence[Sample]) -> Receipt:
        """Hand these to the outlets. It waits only for the room in a sink whose policy is to block."""
        return await self.samples.send(samples)

    async def publish(self, samples: Sequence[Sample]) -> None:
        """Return when every publisher has taken these (or a buffer on disk has them safe).

        Raises:
            NotTaken: some were dropped, or given up after all retries.
        """
        await (await self.samples.send(samples)).taken()

    async def send_events(self, events: Sequence[Event]) -> Receipt:
        """As `send`."""
        return await self.events.send(events)

    async def publish_events(self, events: Sequence[Event]) -> None:
        """As `publish`. Raises NotTaken."""
        await (await self.events.send(events)).taken()


class Entered(Protocol):
    """`async with` it: the generation, which is not closed before this is left."""

    async def __aenter__(self) -> Generation: ...

    async def __aexit__(self, *exc: Any) -> None: ...


class Enter(Protocol):
    def __call__(self) -> Entered: ...
