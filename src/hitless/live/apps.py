"""A web application with a runtime: started before it serves, stopped after, and one generation for each request."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from hitless.config import Source
from hitless.live.errors import StartFailed
from hitless.live.lease import Lease
from hitless.live.triggers import Triggers

if TYPE_CHECKING:
    from hitless.live.background import Background
    from hitless.live.runtime import Runtime

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Any, Receive, Send], Awaitable[None]]
WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class LiveAsgi:
    """`app` around which the runtime lives, by ASGI's lifespan. WebSockets take leases of their own: they may last for days."""

    def __init__(
        self, runtime: Runtime[Any], app: AsgiApp, sources: tuple[Source, ...], triggers: Triggers
    ) -> None:
        self._runtime: Final = runtime
        self._app: Final = app
        self._sources: Final = sources
        self._triggers: Final = triggers

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            async with self._runtime.lease():
                await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Any, receive: Receive, send: Send) -> None:
        startup = await receive()
        try:
            await self._runtime.start(*self._sources, triggers=self._triggers)
        except StartFailed as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        try:
            await self._inner(scope, startup, receive, send)
        finally:
            await self._runtime.stop()

    async def _inner(self, scope: Any, startup: Message, receive: Receive, send: Send) -> None:
        """The application's own lifespan; one that has none is answered for."""
        waiting: list[Message] = [startup]
        answered: list[str] = []

        async def hear() -> Message:
            return waiting.pop() if waiting else await receive()

        async def say(message: Message) -> None:
            answered.append(message["type"])
            await send(message)

        try:
            await self._app(scope, hear, say)
        except Exception:
            if answered:
                raise  # so it does know lifespan, and this is a failure of its own
        if not answered:
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})


class LiveWsgi:
    """`app` around which the runtime lives. `hitless serve` starts and stops it with each worker; other servers know
    nothing of it, and there it starts with the first request, in a thread.
    """

    def __init__(
        self, runtime: Runtime[Any], app: WsgiApp, sources: tuple[Source, ...], triggers: Triggers
    ) -> None:
        self._runtime: Final = runtime
        self._app: Final = app
        self._sources: Final = sources
        self._triggers: Final = triggers
        self._starting: Final = threading.Lock()
        self._is_started = False
        self._background: Background | None = None

    async def hitless_startup(self) -> None:
        """Called by `hitless serve` before the worker serves. Raises StartFailed."""
        await self._runtime.start(*self._sources, triggers=self._triggers)
        self._is_started = True

    async def hitless_shutdown(self) -> None:
        """Called by `hitless serve` after the worker's last request."""
        await self._runtime.stop()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not self._is_started:
            self._start()
        lease = self._runtime.lease()
        lease.__enter__()
        try:
            result = self._app(environ, start_response)
        except BaseException:
            lease.__exit__(None, None, None)
            raise
        if isinstance(result, list | tuple):
            lease.__exit__(None, None, None)
            return result
        return _Body(result, lease)

    def _start(self) -> None:
        with self._starting:
            if not self._is_started:
                self._background = self._runtime.run_in_thread(*self._sources, triggers=self._triggers)
                self._is_started = True


class _Body:
    """What a WSGI application returns piece by piece; the lease ends with it."""

    def __init__(self, pieces: Iterable[bytes], lease: Lease[Any]) -> None:
        self._pieces: Final = pieces
        self._lease: Final = lease

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        try:
            if hasattr(self._pieces, "close"):
                self._pieces.close()
        finally:
            self._lease.__exit__(None, None, None)
