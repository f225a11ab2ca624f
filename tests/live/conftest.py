from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.live.models import Settings, World

from hitless.change import Event
from hitless.live import Limits, Runtime

New = Callable[..., Runtime[Settings]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def new() -> AsyncIterator[New]:
    """Makes runtimes, and stops those that were started."""
    made: list[Runtime[Settings]] = []

    def new(**options: Any) -> Runtime[Settings]:
        options.setdefault("limits", Limits(drain_s=5.0))
        made.append(Runtime(Settings, **options))
        return made[-1]

    yield new
    for runtime in made:
        if runtime.generation and runtime.leases.current is not None:
            await runtime.stop()


class Told:
    """The events of a runtime, to be waited for."""

    def __init__(self, runtime: Runtime[Settings]) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()
        runtime.subscribe(self._note)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    async def wait_for(self, name: str, count: int = 1) -> Event:
        async with asyncio.timeout(60):
            while len(self.named(name)) < count:
                self._more.clear()
                await self._more.wait()
        return self.named(name)[count - 1]
