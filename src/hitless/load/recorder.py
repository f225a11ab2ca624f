"""The one owner of a running load's numbers; clients tell it what happened, reports are made from it."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hitless.load.failure import Failure, How, RequestFailed, ServerClose
from hitless.load.report import FailedRequest, Latency, Report, Samples, StepReport

KEPT_FAILURES = 1000


@dataclass(slots=True)
class Tally:
    """The running numbers of one step."""

    name: str
    began: float
    ended: float | None = None
    started: array[float] = field(default_factory=lambda: array("d"))
    duration: array[float] = field(default_factory=lambda: array("d"))
    hows: Counter[tuple[Failure, How]] = field(default_factory=Counter)
    closes: Counter[ServerClose] = field(default_factory=Counter)
    opened: int = 0

    def report(self) -> StepReport:
        failures: Counter[Failure] = Counter()
        for (failure, _), count in self.hows.items():
            failures[failure] += count
        return StepReport(
            self.name,
            self.began,
            (self.ended or time.time()) - self.began,
            len(self.duration),
            dict(failures),
            dict(self.hows),
            dict(self.closes),
            self.opened,
            Latency.of(self.duration),
        )

    def add(self, other: Tally) -> None:
        self.ended = other.ended
        self.started.extend(other.started)
        self.duration.extend(other.duration)
        self.hows.update(other.hows)
        self.closes.update(other.closes)
        self.opened += other.opened


class Recorder:
    """Numbers of a load of so many clients; the first step begins at once. `full` is called after `most`
    requests."""

    def __init__(self, clients: int, first_step: str, *, most: int, full: Callable[[], None]) -> None:
        self._most = most
        self._full = full
        self.requests = 0
        self.answered = [0] * clients
        """Per client, requests answered as expected."""
        self._connections = [0] * clients
        self._failed: list[FailedRequest] = []
        self._tally = Tally(first_step, time.time())
        self._tallies = [self._tally]
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def opened(self, client: int) -> None:
        """`client` opened a connection."""
        self._connections[client] += 1
        self._tally.opened += 1

    def closed(self, close: ServerClose) -> None:
        """The server ended a connection."""
        self._tally.closes[close] += 1

    def ended(
        self, client: int, label: str, *, started: float, duration: float, error: RequestFailed | None
    ) -> None:
        """One request of `client` ended, well or with `error`."""
        self.requests += 1
        self._tally.started.append(started)
        self._tally.duration.append(duration)
        if error is None:
            self.answered[client] += 1
        else:
            self._failure(client, label, error)
        if self.requests >= self._most:
            self._full()
        if self._waiting:
            self._wake()

    def step(self, name: str) -> None:
        """From now on everything belongs to step `name`; the step goes on if it is the current one."""
        if name == self._tally.name:
            return
        now = time.time()
        self._tally.ended = now
        self._tally = Tally(name, now)
        self._tallies.append(self._tally)

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until `met`, looked at after every request; the deadline is the caller's."""
        if not met():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((met, future))
            await future

    def finish(self) -> None:
        """The load is over: the last step ends now."""
        self._tally.ended = self._tally.ended or time.time()

    def report(self) -> Report:
        """What was seen so far."""
        total = Tally("total", self._tallies[0].began)
        for tally in self._tallies:
            total.add(tally)
        return Report(
            total.report(),
            tuple(tally.report() for tally in self._tallies),
            tuple(self._connections),
            tuple(self._failed),
            Samples(total.started, total.duration),
        )

    def _failure(self, client: int, label: str, error: RequestFailed) -> None:
        self._tally.hows[error.failure, error.how] += 1
        if len(self._failed) < KEPT_FAILURES:
            now = time.time()
            self._failed.append(
                FailedRequest(now, self._tally.name, client, label, error.failure, error.how, error.detail)
            )

    def _wake(self) -> None:
        for met, future in self._waiting:
            if not future.done() and met():
                future.set_result(None)
        self._waiting = [(met, future) for met, future in self._waiting if not future.done()]
