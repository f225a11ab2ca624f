"""Keeps the current generation at its size and with a template, whoever dies.

A dead worker is replaced at once; where workers keep dying, after a delay that grows (see `hitless.serve.crashes`). A dead template
is rebuilt while the workers serve on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from hitless.change import Deadline, DeadlinePassed, Events, Refused
from hitless.serve.crashes import Crashes
from hitless.serve.drains import Drain
from hitless.serve.generations import ServeGeneration
from hitless.serve.listeners import Listeners
from hitless.serve.workers import WorkerProcess


class Mended(Protocol):
    """What a mender needs of the fleet."""

    current: ServeGeneration | None
    kept: ServeGeneration | None
    drains: list[Drain]

    @property
    def events(self) -> Events: ...
    @property
    def listeners(self) -> Listeners: ...
    @property
    def retiring(self) -> set[int]: ...
    def serving(self) -> list[WorkerProcess]: ...
    def drain(self, generation: ServeGeneration, workers: Sequence[WorkerProcess], *, why: str) -> None: ...
    def reaim(self, drains: Sequence[Drain]) -> None: ...


class Mender:
    """One task at a time, begun by `mend`. `on_crash_loop` is told when a generation on probation dies too often."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fleet: Mended,
        *,
        on_crash_loop: Callable[[ServeGeneration], None],
    ) -> None:
        self.crashes: Final = Crashes()
        self._loop: Final = loop
        self._fleet: Final = fleet
        self._on_crash_loop: Final = on_crash_loop
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._now: Final = asyncio.Event()
        self._deaths = 0
        self._stopped = False
        self._held = False

    def note_crash(self, generation: ServeGeneration) -> None:
        """A worker of the current generation died unasked."""
        generation.crashes += 1
        self._deaths += 1
        self.crashes.note(time.monotonic())
        if self._fleet.kept is not None and generation.crashes >= generation.settings.start.crashes:
            self._on_crash_loop(generation)

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    def forgive(self) -> None:
        """Another generation is current: what died before does not count, and is not waited for."""
        self.crashes.reset()
        self._now.set()

    def stop(self) -> None:
        """Mends nothing any more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    @property
    def is_held(self) -> bool:
        return self._held

    async def hold(self, deadline: Deadline) -> None:
        """Starts nobody until `release`; returns when nobody is being started.

        Raises:
            DeadlinePassed: somebody still is.
        """
        self._held = True
        self._now.set()
        if self._task is not None:
            await deadline.wait(asyncio.wait({self._task}), "a worker that is being replaced was not ready")

    def release(self) -> None:
        if self._held:
            self._held = False
            self.mend()

    def mend(self) -> None:
        """Brings the current generation back to its size and gives it a template, if either is missing."""
        self._again = True
        if self._task is None and self._may_start():
            self._task = self._loop.create_task(self._mend())

    def _may_start(self) -> bool:
        return not self._stopped and not self._held

    async def _mend(self) -> None:
        try:
            while self._again and self._may_start():
                self._again = False
                await self._hold_back(self.crashes.delay_s)
                if not self._may_start():
                    self._again = True
                    break
                generation, deaths = self._current(), self._deaths
                try:
                    await self._mend_once(generation)
                except (Refused, DeadlinePassed) as error:
                    self._again = True
                    if generation is not self._fleet.current:
                        continue  # replaced meanwhile, and ended for that
                    if self._deaths == deaths:
                        self.crashes.note(time.monotonic())
                    self._fleet.events.emit(
                        "mending.failed",
                        generation=generation.number,
                        why=str(error),
                        retry_s=self.crashes.delay_s,
                    )
        finally:
            self._task = None

    async def _hold_back(self, seconds: float) -> None:
        """Waits, unless the reason for waiting goes away: a change may bring workers that do not crash."""
        self._now.clear()
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._now.wait()

    async def _mend_once(self, generation: ServeGeneration) -> None:
        deadline = Deadline.after(generation.settings.start.timeout)
        if generation.forks and (generation.template is None or not generation.template.is_alive):
            await generation.build_template(deadline)
            if generation is not self._fleet.current:
                return generation.drop_template()  # replaced meanwhile; what is kept has its template already
            self._fleet.events.emit("template.rebuilt", generation=generation.number)
        missing = self._missing(generation)
        if missing > 0:
            fresh = await generation.start_workers(missing, deadline)
            if generation is not self._fleet.current:
                return _kill(fresh)  # replaced meanwhile: these have served nobody
            missing = max(0, self._missing(generation))
            _kill(fresh[missing:])  # scaled meanwhile
            fresh = fresh[:missing]
            await generation.serve(fresh, self._fleet.listeners)
            self._fleet.events.emit(
                "worker.replaced", generation=generation.number, workers=[one.number for one in fresh]
            )
            if generation is self._fleet.current:
                self._fleet.reaim(self._fleet.drains)  # those to whom they handed over may be the dead
        leaving = [one for one in generation.undrained() if one.number in self._fleet.retiring]
        if leaving and generation is self._fleet.current:
            self._fleet.drain(generation, leaving, why="retired")
            self._fleet.retiring.difference_update(one.number for one in leaving)
        generation.tell_siblings(self._fleet.serving())
        return None

    def _missing(self, generation: ServeGeneration) -> int:
        return generation.settings.workers - len(self._fleet.serving())

    def _current(self) -> ServeGeneration:
        assert self._fleet.current is not None
        return self._fleet.current


def _kill(workers: Sequence[WorkerProcess]) -> None:
    for worker in workers:
        worker.kill()
