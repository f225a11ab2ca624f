"""One client: thinks, asks on its own keep-alive connection, and never retries."""

from __future__ import annotations

import asyncio
import ssl as tls
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from hitless.load.connection import Connection, dial
from hitless.load.exchange import Request, Response
from hitless.load.failure import Failure, RequestFailed
from hitless.load.mix import Share, choose
from hitless.load.recorder import Recorder
from hitless.load.target import Target

REFUSED_PAUSE_S = 0.1
"""After a refusal a client without think time waits this long: it measures an outage, it does not flood
one."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How all clients of a load behave."""

    mix: Sequence[Share]
    think: tuple[float, float] = (0.0, 0.0)
    """Least and most seconds between an answer and the next request, drawn evenly."""
    timeout_s: float = 10.0
    blind: bool = False
    """Whether an idle connection is not looked at (see hitless.load.connection)."""
    context: tls.SSLContext | None = None


class Client:
    """Runs until `stopping` is set. Its first request goes out at once."""

    def __init__(
        self,
        index: int,
        target: Target,
        manner: Manner,
        *,
        recorder: Recorder,
        stopping: asyncio.Event,
        seed: int,
    ) -> None:
        self.index = index
        self._target = target
        self._manner = manner
        self._recorder = recorder
        self._stopping = stopping
        self._random = Random(f"{seed}/{index}")
        self._connection: Connection | None = None

    async def run(self) -> None:
        """Ask, think, ask …

        Raises:
            LoadError: this side cannot go on.
        """
        try:
            while not self._stopping.is_set():
                request: Request | None = choose(self._manner.mix, self._random)
                while request is not None and not self._stopping.is_set():
                    response = await self._ask(request)
                    request = request.then(response) if response is not None and request.then else None
                await self._pause(self._random.uniform(*self._manner.think))
        finally:
            self._drop()

    async def _ask(self, request: Request) -> Response | None:
        """One attempt, recorded; None if it failed."""
        started, clock = time.time(), time.perf_counter()
        error: RequestFailed | None = None
        response: Response | None = None
        try:
            async with asyncio.timeout(self._manner.timeout_s):
                response = await self._exchange(request)
            request.verify(response)
        except RequestFailed as failed:
            error, response = failed, None
        except TimeoutError:
            error = RequestFailed(Failure.TIMED_OUT, detail=f"no answer within {self._manner.timeout_s:g} s")
            self._drop()
        duration = time.perf_counter() - clock
        label = request.label if request.path else f"{request.method} {self._target.path}"
        self._recorder.ended(self.index, label, started=started, duration=duration, error=error)
        if error is not None and error.failure is Failure.REFUSED:
            await self._pause(REFUSED_PAUSE_S)
        return response

    async def _exchange(self, request: Request) -> Response:
        if self._connection is None or not self._connection.usable:
            self._connection = await dial(
                self._target,
                blind=self._manner.blind,
                context=self._manner.context,
                on_close=self._recorder.closed,
            )
            self._recorder.opened(self.index)
        return await self._connection.exchange(request)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
