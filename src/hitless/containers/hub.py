"""One stream of events for all containers of an engine, turned into wake-ups.

An event says only "look again": what is so is asked of the engine, because events are lost when the engine restarts,
and a container may have come back before the event of its end is read. The one thing kept from events is how a
container ended that is gone before anyone could look (`--rm`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from hitless.containers.engine import Engine
from hitless.containers.errors import EngineError

RECONNECT_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between attempts to listen again after the engine went away; the last one repeats."""
LOOK_S: Final = 5.0
"""How long a container goes unlooked-at without an event: what a lost one costs."""


class Watch:
    """Wake-ups for one container."""

    def __init__(self) -> None:
        self._woken: Final = asyncio.Event()
        self.ends: Final[list[int]] = []
        """Exit codes that events told of, in order."""

    def wake(self) -> None:
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Until something happened, at most `seconds`; what happened before is not missed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, LOOK_S))):
                await self._woken.wait()
        self._woken.clear()


class Hub:
    """Listens while it is open (`async with Hub(engine)`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine
        self._watches: Final[dict[str, list[Watch]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._listens: Final = asyncio.Event()

    async def __aenter__(self) -> Hub:
        self._task = asyncio.create_task(self._listen())
        # Not waiting for ever: without events everything still works, by looking every LOOK_S.
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._listens.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextmanager
    def watch(self, id: str) -> Iterator[Watch]:  # noqa: A002
        """Wake-ups for the container of this id."""
        watch = Watch()
        self._watches.setdefault(id, []).append(watch)
        try:
            yield watch
        finally:
            self._watches[id].remove(watch)
            if not self._watches[id]:
                del self._watches[id]

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with self._engine.events() as events:
                    failures = 0
                    self._listens.set()
                    self._wake_all()  # what happened before this stream began was not heard
                    async for event in events:
                        self._tell(event)
            except EngineError:
                pass
            except ValueError:
                pass  # half a line of a stream that broke off
            self._wake_all()
            await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
            failures += 1

    def _tell(self, event: Mapping[str, Any]) -> None:
        actor = event.get("Actor") or {}
        for watch in self._watches.get(str(actor.get("ID") or event.get("id") or ""), ()):
            if event.get("Action", event.get("status")) in ("die", "died"):
                code = _exit_code(actor.get("Attributes") or {})
                if code is not None:
                    watch.ends.append(code)
            watch.wake()

    def _wake_all(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()


def _exit_code(attributes: Mapping[str, Any]) -> int | None:
    said = attributes.get("exitCode", attributes.get("containerExitCode"))
    return int(said) if said is not None and str(said).lstrip("-").isdigit() else None
