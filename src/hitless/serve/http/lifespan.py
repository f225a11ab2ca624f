"""ASGI lifespan: an application's own startup and shutdown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hitless.serve.http.errors import StartupFailed

if TYPE_CHECKING:
    from hitless.serve.http.engine import Engine


class Lifespan:
    """The lifespan of one application in one worker.

    An application that knows no lifespan raises when it is called with that scope; that is fine ("auto"
    semantics), it is then called for requests only. One that *says* that its startup failed is believed.

    Attributes:
        state: what the application put into the lifespan's state; every request gets a shallow copy.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answer: asyncio.Future[str | None] | None = None
        self._is_supported = True
        self._has_answered = False
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        """Run the application's startup.

        Raises:
            StartupFailed: it said so.
        """
        self._task = self._engine.loop.create_task(self._run())
        failure = await self._ask("lifespan.startup")
        if failure is not None:
            raise StartupFailed(failure or "the application's startup failed")

    async def shutdown(self) -> None:
        """Run the application's shutdown; what goes wrong is logged."""
        if self._task is None or not self._is_supported:
            return
        failure = await self._ask("lifespan.shutdown")
        if failure is not None:
            self._engine.log("error", "the application's shutdown failed", reason=failure)
        await asyncio.wait([self._task])

    async def _ask(self, kind: str) -> str | None:
        assert self._task is not None
        if self._task.done():
            return None
        self._answer = self._engine.loop.create_future()
        self._inbox.put_nowait({"type": kind})
        both: list[asyncio.Future[Any]] = [self._answer, self._task]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return self._answer.result() if self._answer.done() else None

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._engine.app(scope, self._inbox.get, self._send)
        except Exception as error:  # noqa: BLE001 - by the specification, raising means "no lifespan here"
            self._raised(error)
        self._is_supported = False

    def _raised(self, error: Exception) -> None:
        if self._has_answered:
            # So it does know lifespan, and this is a failure of its own.
            self._engine.log("error", "the application's lifespan raised", exc_info=error)
        else:
            self._engine.log("debug", "the application has no lifespan", reason=repr(error))

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        _, _, outcome = kind.rpartition(".")
        if outcome not in ("complete", "failed") or not kind.startswith("lifespan."):
            raise RuntimeError(f"{kind!r} is no lifespan message")
        if self._answer is None or self._answer.done():
            raise RuntimeError(f"{kind!r} answers nothing that was asked")
        self._has_answered = True
        self._answer.set_result(None if outcome == "complete" else str(message.get("message", "")))
