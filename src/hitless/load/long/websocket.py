"""A WebSocket client (RFC 6455, through wsproto) that says with which code and words it was closed."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from hitless.load.long.ending import COMPLETE, DEADLINE, Ending, Lost, OnProgress, Progress
from hitless.load.long.wire import READ_BYTES, Wire
from hitless.load.target import Target


class WebSocket:
    """An open WebSocket; made by :meth:`open`, closed by leaving its context."""

    def __init__(self, wire: Wire, *, on_progress: OnProgress | None = None) -> None:
        self._wire = wire
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._events: deque[Event] = deque()
        self._progress = Progress(on_progress)

    @classmethod
    async def open(cls, url: str, *, timeout_s: float = 10.0, on_progress: OnProgress | None = None) -> Self:
        """Connect to `url` (http, not ws) and do the opening handshake.

        Raises:
            Lost: refused, rejected with a status, or the connection ended.
            TimeoutError: not within `timeout_s`.
        """
        target = Target.parse(url)
        async with asyncio.timeout(timeout_s):
            wire = await Wire.open(target)
            try:
                socket = cls(wire, on_progress=on_progress)
                await socket._shake_hands(target)
            except BaseException:
                wire.close()
                raise
        return socket

    async def _shake_hands(self, target: Target) -> None:
        await self._send(Request(host=target.authority, target=target.path))
        event = await self._event()
        if isinstance(event, RejectConnection):
            raise Lost(f"status {event.status_code}")
        if not isinstance(event, AcceptConnection):
            raise Lost(f"garbled ({type(event).__name__} instead of an answer to the handshake)")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._wire.close()

    async def send(self, text: str) -> None:
        """Send one text message.

        Raises:
            Lost: the connection ended.
        """
        await self._send(TextMessage(data=text))

    async def receive(self, timeout_s: float = 10.0) -> str:
        """The next whole message; pings are answered on the way.

        Raises:
            Lost: closed, with the code and words of the server, or cut.
            TimeoutError: none within `timeout_s`.
        """
        parts: list[str] = []
        async with asyncio.timeout(timeout_s):
            while True:
                event = await self._event()
                if isinstance(event, CloseConnection):
                    raise await self._closed(event)
                if isinstance(event, Ping):
                    await self._send(event.response())
                elif isinstance(event, TextMessage | BytesMessage):
                    parts.append(event.data if isinstance(event, TextMessage) else event.data.decode())
                    if event.message_finished:
                        return "".join(parts)

    async def close(self, code: int = 1000) -> None:
        """Close from this side."""
        await self._send(CloseConnection(code=code))

    async def echo(self, *, times: int, every_s: float, timeout_s: float = 10.0) -> Ending:
        """Send a numbered message each `every_s` and expect it back, so many times; the ending says what came
        instead."""
        for number in range(times):
            text = f"message {number}"
            try:
                await self.send(text)
                back = await self.receive(timeout_s)
            except Lost as lost:
                return self._progress.end(lost.reason)
            except TimeoutError:
                return self._progress.end(DEADLINE)
            if back != text:
                return self._progress.end(f"{back!r} came back for {text!r}")
            self._progress.add(back.encode(), messages=1)
            await asyncio.sleep(every_s)
        return self._progress.end(COMPLETE)

    async def _closed(self, event: CloseConnection) -> Lost:
        """Answer the close, as RFC 6455, 5.5.1 wants it; the server may be gone by then."""
        with suppress(Lost):
            await self._send(event.response())
        return Lost(f"closed {event.code} {event.reason or ''}".rstrip())

    async def _send(self, event: Event) -> None:
        await self._wire.send(self._protocol.send(event))

    async def _event(self) -> Event:
        while not self._events:
            data = await self._wire.receive(READ_BYTES)
            if not data:
                raise Lost("eof")
            self._protocol.receive_data(data)
            self._events.extend(self._protocol.events())
        return self._events.popleft()
