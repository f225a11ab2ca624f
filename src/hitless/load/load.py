"""A load: many clients on one service, steps while it runs, a report at the end."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hitless.load.client import Client, Manner
from hitless.load.failure import LoadError
from hitless.load.mix import Share, get
from hitless.load.recorder import Recorder
from hitless.load.report import Report, StepReport
from hitless.load.target import Target

MOST_CLIENTS = 50_000
GRACE_S = 2.0
"""What a stopping load grants its clients beyond their request timeout."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a load, whatever the server does."""

    timeout_s: float = 10.0
    """Deadline of one request, connecting included."""
    requests: int = 2_000_000
    """The load ends by itself after so many (16 bytes of memory each)."""
    seconds: float = 3600.0
    """The load ends by itself after so long."""


class Load:
    """Clients with keep-alive connections, spread evenly over `targets`, from entering the context to
    :meth:`stop`.

    Args:
        targets: one URL or several (see :meth:`Target.parse`).
        clients: how many; each has one connection at a time.
        think: least and most seconds between an answer and the client's next request.
        mix: what is asked for; GET of the target's path if empty.
        blind: clients do not look at idle connections (see hitless.load.connection).
        seed: the same seed asks the same.
        context: TLS settings for https targets; by default no certificate is verified.

    Raises:
        LoadError: a target or a number makes no sense.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        clients: int = 64,
        think: tuple[float, float] = (0.0, 0.0),
        mix: Sequence[Share] = (),
        limits: Limits = Limits(),
        blind: bool = False,
        seed: int = 0,
        step: str = "steady",
        context: tls.SSLContext | None = None,
    ) -> None:
        if not 1 <= clients <= MOST_CLIENTS:
            raise LoadError(f"cannot run {clients} clients: expected 1 to {MOST_CLIENTS}")
        if not 0 <= think[0] <= think[1]:
            raise LoadError(f"cannot think for {think[0]:g} to {think[1]:g} s: expected 0 <= least <= most")
        self._targets = [Target.parse(url) for url in ([targets] if isinstance(targets, str) else targets)]
        if not self._targets:
            raise LoadError("cannot load nothing: name at least one target")
        self._clients = clients
        self._manner = Manner(tuple(mix) or (Share(1.0, get()),), think, limits.timeout_s, blind, context)
        self._limits = limits
        self._seed = seed
        self._stopping = asyncio.Event()
        self._recorder = Recorder(clients, step, most=limits.requests, full=self._stopping.set)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client(index).run()) for index in range(self._clients)]
        for task in self._tasks:
            task.add_done_callback(self._client_ended)
        self._tasks.append(asyncio.create_task(self._bound()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def step(self, name: str) -> None:
        """Begin step `name`: what ends from now on is counted there."""
        self._recorder.step(name)

    def report(self) -> Report:
        """What was seen so far."""
        return self._recorder.report()

    def stats(self, name: str) -> StepReport:
        """What was seen so far in the last step of this name.

        Raises:
            KeyError: there was none.
        """
        return self.report().step(name)

    async def warm(self, timeout_s: float = 10.0) -> None:
        """Wait until every client has been answered once, so that every connection is one that gets re-used.

        Raises:
            TimeoutError: not within `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._recorder.until(lambda: all(self._recorder.answered))
        except TimeoutError:
            raise TimeoutError(self._why_cold(timeout_s)) from None

    async def more(self, requests: int, timeout_s: float = 30.0) -> None:
        """Wait until so many more requests have ended.

        Raises:
            TimeoutError: not within `timeout_s`.
        """
        enough = self._recorder.requests + requests
        async with asyncio.timeout(timeout_s):
            await self._recorder.until(lambda: self._recorder.requests >= enough)

    async def done(self) -> None:
        """Wait until the load ends by its limits or is stopped."""
        await self._stopping.wait()

    async def stop(self) -> Report:
        """Let every client finish the request it waits for, close the connections, and report. Ending is not
        a failure.

        Raises:
            LoadError: this side could not go on while it ran.
        """
        self._stopping.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._limits.timeout_s + GRACE_S)
            for task in late:
                task.cancel()
            tasks, self._tasks = self._tasks, []
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self._recorder.finish()
            for error in ended:
                if isinstance(error, Exception):
                    raise error
        return self._recorder.report()

    def _client(self, index: int) -> Client:
        target = self._targets[index % len(self._targets)]
        return Client(
            index, target, self._manner, recorder=self._recorder, stopping=self._stopping, seed=self._seed
        )

    def _client_ended(self, task: asyncio.Task[None]) -> None:
        """Clients end when the load does; one that broke ends it."""
        if not task.cancelled() and task.exception() is not None:
            self._stopping.set()

    async def _bound(self) -> None:
        """End the load at its time limit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.seconds):
                await self._stopping.wait()
        self._stopping.set()

    def _why_cold(self, timeout_s: float) -> str:
        cold = self._recorder.answered.count(0)
        failed = self.report().failed_requests
        why = f"; the last failure: {failed[-1]}" if failed else ""
        return f"{cold} of {self._clients} clients were not answered within {timeout_s:g} s{why}"
