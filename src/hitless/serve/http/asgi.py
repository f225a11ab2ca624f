"""The ASGI side of an exchange (ASGI 3.0, HTTP message format 2.3).

Version 2.3 on purpose: from 2.4 on frameworks do not listen for `http.disconnect` while they stream; they
wait for `send` to fail. A draining worker could then not tell an event stream to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from hitless.serve.http.exchange import Exchange

if TYPE_CHECKING:
    from hitless.serve.http.connection import Connection

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

VERSIONS: Final = {"version": "3.0", "spec_version": "2.3"}
HELD_LIMIT: Final = 65536
"""Bytes of body that wait for the application before the client has to wait."""

START: Final = 0
BODY: Final = 1
DONE: Final = 2
WANTED: Final = ("http.response.start", "http.response.body", "nothing more")


class AsgiExchange(Exchange):
    """One HTTP request to an ASGI application, and its response."""

    __slots__ = ("_disconnect", "_fields", "_read", "_stage", "scope", "task")

    task: asyncio.Task[None]

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._stage = START
        self._read = False
        self._disconnect = False
        self.scope: Scope = self._scope(connection)

    def _scope(self, connection: Connection) -> Scope:
        engine = connection.engine
        raw_path, _, query = self.target.partition(b"?")
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        if engine.root_path:
            path = engine.root_path + path
            raw_path = engine.raw_root_path + raw_path
        scope = (connection.scope or self._template(connection)).copy()
        scope["http_version"] = self.version
        scope["method"] = self.method
        scope["path"] = path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        scope["headers"] = self.fields
        scope["extensions"] = {}
        if engine.state is not None:
            scope["state"] = engine.state.copy()
        if self.marked is not None and connection.trusted:
            scope["client"], scope["scheme"] = engine.forwarded.apply(self.marked, connection)
        return scope

    @staticmethod
    def _template(connection: Connection) -> dict[str, Any]:
        """What is the same in every scope of a connection; to copy it is cheaper than to build it."""
        connection.scope = {
            "type": "http",
            "asgi": VERSIONS,
            "http_version": "",
            "method": "",
            "scheme": connection.scheme,
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "root_path": connection.engine.root_path,
            "headers": [],
            "client": connection.client,
            "server": connection.server,
            "extensions": {},
        }
        return connection.scope

    def start(self) -> None:
        # Directly, and with a name: `create_task` costs a fifth more, for a name that it makes up.
        self.task = asyncio.Task(self.run(), loop=self.connection.engine.loop, name="request")

    def cancel(self) -> None:
        self.task.cancel()

    async def run(self) -> None:
        """Call the application, and contain what it does."""
        engine = self.connection.engine
        try:
            await engine.app(self.scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001 - an application's failure is its request's, not the server's
            self.failed(error)
        except BaseException:
            self.failed(asyncio.CancelledError("the request's task was cancelled"))
            raise
        else:
            if not self.complete:
                self.returned()
        finally:
            engine.running.discard(self)
            if engine.drain_plan is not None:
                engine.look_if_empty()

    async def receive(self) -> Message:
        """ASGI `receive`."""
        while not (self.gone or self.complete):
            if not self._read:
                # Also when the client has shut its sending side down: what came before that is its request.
                reader = self.connection.reader
                if reader.held or reader.complete:
                    return self._next_message()
                self.go_ahead()
            if self._disconnect:
                break
            await self._news_came()
        return {"type": "http.disconnect"}

    async def _news_came(self) -> None:
        if self.news is None:
            self.news = asyncio.Event()
        await self.news.wait()

    def _next_message(self) -> Message:
        reader = self.connection.reader
        body = reader.take()
        if reader.complete:
            self._read = True
            return {"type": "http.request", "body": body, "more_body": False}
        self.connection.resume_body()
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(self, message: Message) -> None:
        """ASGI `send`."""
        kind = message["type"]
        stage = self._stage
        if kind != WANTED[stage]:
            if self.gone:
                return
            raise RuntimeError(f"the application sent {kind!r} where {WANTED[stage]} was expected")
        if stage == START:
            status = message["status"]
            self.status = status if type(status) is int and 200 <= status <= 999 else checked_status(status)
            self._fields = message.get("headers", ())
            self._stage = BODY
            return
        more = message.get("more_body", False)
        if not more:
            self._stage = DONE
        if self.gone:
            return
        if self.begun:
            self.go_on(message.get("body", b""), more=more)
        else:
            self.begin(self.status, self._fields, message.get("body", b""), more=more)
        if self.connection.write_paused:
            await self.connection.wait_writable()

    # What the connection tells.

    def receive_body(self) -> None:
        if self.connection.reader.held > HELD_LIMIT:
            self.connection.pause_body()
        self.wake()

    def client_left(self) -> None:
        self._disconnect = True
        self.wake()

    def disconnected(self) -> None:
        self.gone = True
        self.client_left()


def checked_status(status: Any) -> int:
    """A final status code.

    Raises:
        RuntimeError: it is none.
    """
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise RuntimeError(f"{status!r} is no status of a final response")
    return int(status)
