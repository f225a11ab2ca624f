"""Drains: workers that finish what they have. A drain is a job of its own, visible while it lasts, bounded at its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hitless.serve.boot import SHUTDOWN_S
from hitless.serve.workers import Drained, WorkerProcess, WorkerState

KILL_AFTER_S: Final = SHUTDOWN_S + 5.0
"""After the drain's deadline a worker cuts what is left and shuts its application down; one that does not is killed."""


@dataclass(frozen=True, slots=True)
class DrainReport:
    """How a drain ended."""

    generation: int
    seconds: float
    workers: int
    handed_over: int
    finished: int
    cut: int
    killed: int
    cut_lines: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "generation": self.generation,
            "seconds": self.seconds,
            "workers": self.workers,
            "handed_over": self.handed_over,
            "finished": self.finished,
            "cut": self.cut,
            "killed": self.killed,
        }


class Drain:
    """Some workers of one generation on their way out."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        generation: int,
        workers: Sequence[WorkerProcess],
        timeout_s: float,
        why: str,
        change: int | None = None,
        on_end: Callable[[Drain], None],
    ) -> None:
        self.generation: Final = generation
        self.workers: Final = list(workers)
        self.timeout_s = timeout_s
        self.why: Final = why
        self.change: int | None = change
        self.began: Final = time.monotonic()
        self.report: DrainReport | None = None
        self._before: Final = {worker.number: dict(worker.counters) for worker in workers}
        self._on_end: Final = on_end
        self._killed: set[int] = set()
        self._limit: asyncio.Timeout | None = None
        self._task: Final = loop.create_task(self._run())

    @property
    def left(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.state is not WorkerState.GONE]

    @property
    def remaining_s(self) -> float:
        return max(0.0, self.timeout_s - (time.monotonic() - self.began))

    def shorten(self, timeout_s: float) -> None:
        """At most `timeout_s` from now on."""
        self.timeout_s = min(self.timeout_s, time.monotonic() - self.began + timeout_s)
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self.remaining_s + KILL_AFTER_S)

    def freeze(self) -> dict[str, Any]:
        return {
            "generation": self.generation,
            "workers": [worker.number for worker in self.left],
            "timeout_s": self.remaining_s,
            "why": self.why,
            "change": self.change,
        }

    @classmethod
    def thaw(
        cls,
        loop: asyncio.AbstractEventLoop,
        frozen: Mapping[str, Any],
        workers: Mapping[int, WorkerProcess],
        *,
        on_end: Callable[[Drain], None],
    ) -> Drain:
        """Goes on where `freeze` left off; who is gone already is not waited for."""
        return cls(
            loop,
            generation=frozen["generation"],
            workers=[workers[number] for number in frozen["workers"] if number in workers],
            timeout_s=frozen["timeout_s"],
            why=frozen["why"],
            change=frozen["change"],
            on_end=on_end,
        )

    async def ended(self) -> DrainReport:
        """How it ended; bounded by the drain's own deadlines."""
        await asyncio.shield(self._task)
        assert self.report is not None
        return self.report

    async def _run(self) -> None:
        gone = [worker.gone for worker in self.workers]
        try:
            async with asyncio.timeout(self.remaining_s + KILL_AFTER_S) as self._limit:
                await asyncio.gather(*map(asyncio.shield, gone))
        except TimeoutError:
            for worker in self.left:
                self._killed.add(worker.number)
                worker.kill()
            await asyncio.wait(gone, timeout=KILL_AFTER_S)
        finally:
            self._limit = None
        self.report = self._sum()
        self._on_end(self)

    def _sum(self) -> DrainReport:
        drained = [worker.drained or Drained() for worker in self.workers]
        lines = tuple(line for each in drained for line in each.cut)
        return DrainReport(
            generation=self.generation,
            seconds=round(time.monotonic() - self.began, 3),
            workers=len(self.workers),
            handed_over=sum(each.handed_over for each in drained),
            finished=sum(worker.counters.get("requests", 0) for worker in self.workers),
            cut=sum(each.cut_count for each in drained),
            killed=len(self._killed),
            cut_lines=lines,
        )
