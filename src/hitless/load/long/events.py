"""A reader of server-sent events (WHATWG HTML, 9.2). It does not reconnect: a reconnect would hide the
cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from hitless.load.long.ending import COMPLETE, DEADLINE, Ending, Lost, OnProgress, Progress
from hitless.load.long.wire import Wire, request_head
from hitless.load.target import Target


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the stream said it."""

    data: str
    kind: str = "message"
    id: str = ""


class EventStream:
    """Reads events of `url` until it has seen `enough` of them, or the server ends the stream.

    `events` holds what was read so far.
    """

    def __init__(
        self, url: str, *, enough: int, last_id: str = "", on_progress: OnProgress | None = None
    ) -> None:
        self.events: list[Event] = []
        self._target = Target.parse(url)
        self._enough = enough
        self._last_id = last_id
        self._progress = Progress(on_progress)

    async def run(self, timeout_s: float) -> Ending:
        """Read; the ending is ``complete`` after enough events, ``ended by the server`` if the response ended
        in good order before, and else what cut it.
        """
        try:
            async with asyncio.timeout(timeout_s), await Wire.open(self._target) as wire:
                return await self._read(wire)
        except Lost as lost:
            return self._progress.end(lost.reason)
        except TimeoutError:
            return self._progress.end(DEADLINE)

    async def _read(self, wire: Wire) -> Ending:
        headers = {"last_event_id": self._last_id} if self._last_id else {}
        await wire.send(request_head(self._target, "GET", accept="text/event-stream", **headers))
        head = await wire.head()
        self._progress.status, self._progress.closing = head.status, not head.keep_alive
        if head.status != 200:
            return self._progress.end(f"status {head.status}")
        async for event in _events(wire.pieces()):
            self.events.append(event)
            self._progress.add(event.data.encode(), messages=1)
            if len(self.events) >= self._enough:
                return self._progress.end(COMPLETE)
        return self._progress.end("ended by the server")


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    buffer = b""
    async for piece in pieces:
        buffer = (buffer + piece).replace(b"\r\n", b"\n")
        while b"\n\n" in buffer:
            block, buffer = buffer.split(b"\n\n", 1)
            event = _event(block.decode())
            if event is not None:
                yield event


def _event(block: str) -> Event | None:
    """One block of lines; None if it carries no data (a comment that keeps the connection alive)."""
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return None
    return Event("\n".join(fields["data"]), fields.get("event", ["message"])[-1], fields.get("id", [""])[-1])
