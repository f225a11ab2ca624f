"""One client of the control socket: its lines in, its answers out, and the bounds on both."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Final

from hitless.change import JSON
from hitless.control import messages
from hitless.control.errors import ControlError
from hitless.control.messages import Id
from hitless.control.request import Handler, Peer, Request

log = logging.getLogger(__name__)

IDLE_TIMEOUT_S: Final = 300.0
"""For the next request to come."""
FIRST_S: Final = 0.25
"""For the first request of a client that has connected when the service ends."""
WRITE_TIMEOUT_S: Final = 10.0
"""For an answer to be taken."""
UNREAD_LIMIT: Final = 1024 * 1024
"""Bytes that a client may leave unread; over it, it is dropped. One answer may be longer."""
AHEAD_LIMIT: Final = 16
"""Requests that are read while another is being answered."""


class Connection:
    """Answers the requests of one client, one after the other, until it leaves, is idle too long, or `finish`."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        peer: Peer,
        handlers: Mapping[str, Handler],
    ) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._peer: Final = peer
        self._handlers: Final = handlers
        self._ahead: Final[deque[bytes]] = deque()
        self._waiting: asyncio.Timeout | None = None
        self._is_finishing = False
        self._has_asked = False

    def finish(self) -> None:
        """End after the request that is being answered, or the first one, which is on its way; else at once."""
        self._is_finishing = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time() + self._patience_s)

    @property
    def _patience_s(self) -> float:
        """For the next request to come."""
        if not self._is_finishing:
            return IDLE_TIMEOUT_S
        return 0.0 if self._has_asked else FIRST_S

    async def run(self) -> None:
        try:
            while line := await self._next_line():
                await self._answer(line)
        except ControlError as error:
            self._send(messages.error(None, error))
        finally:
            await self._close()

    async def refuse(self, error: ControlError) -> None:
        """Tell the client why it is not served, and close."""
        self._send(messages.error(None, error))
        await self._close()

    async def _next_line(self) -> bytes:
        """The next complete line, or nothing if there will be none."""
        if self._is_finishing and self._has_asked:
            return b""
        if self._ahead:
            return self._ahead.popleft()
        try:
            async with asyncio.timeout(self._patience_s) as self._waiting:
                line = await self._read_line()
                self._has_asked = True
                return line
        except TimeoutError:
            return b""
        finally:
            self._waiting = None

    async def _read_line(self) -> bytes:
        try:
            line = await self._reader.readline()
        except ValueError:
            raise ControlError(
                "line_too_long", f"a request has at most {messages.LINE_LIMIT} bytes"
            ) from None
        except ConnectionError:
            return b""
        return line if line.endswith(b"\n") else b""

    async def _answer(self, line: bytes) -> None:
        id_: Id = None
        try:
            message = messages.decode(line)
            id_ = messages.id_of(message)
            reply = messages.result(id_, await self._handle(messages.to_call(message)))
        except ControlError as error:
            reply = messages.error(id_, error)
        except Exception as error:
            log.exception("the control request %s failed", line[:200])
            reply = messages.error(id_, ControlError("internal_error", f"{type(error).__name__}: {error}"))
        self._send(reply)
        await self._taken()

    async def _handle(self, call: messages.Call) -> JSON:
        handler = self._handlers.get(call.method)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise ControlError("unknown_method", f"there is no method {call.method}; there are: {known}")

        async def progress(name: str, fields: Mapping[str, JSON]) -> None:
            self._send(messages.event(call.id, name, fields))

        return await handler(Request(call.method, call.params, self._peer, progress, self._disconnected))

    async def _disconnected(self) -> None:
        """Read ahead until the client has closed its side."""
        while line := await self._read_line():
            if len(self._ahead) >= AHEAD_LIMIT:
                raise ControlError(
                    "too_many_requests", f"more than {AHEAD_LIMIT} requests wait for an answer"
                )
            self._ahead.append(line)

    def _send(self, data: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > UNREAD_LIMIT:
            log.warning("the control client %s does not read its answers; it is dropped", self._peer)
            transport.abort()
            return
        self._writer.write(data)

    async def _taken(self) -> None:
        """Wait until the client has taken most of what was sent, and drop it if it does not."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._writer.drain()
        except (TimeoutError, ConnectionError):
            self._writer.transport.abort()

    async def _close(self) -> None:
        try:
            self._writer.close()
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            self._writer.transport.abort()
