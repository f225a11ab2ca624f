"""A client of the volume service: many requests at a time on one connection."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ANSWER_S: Final = 60.0
LONGEST_LINE: Final = 8 * 1024 * 1024


class Lost(Exception):
    """There is no answer, and there will be none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended."""

    state: str
    """`done`, `failed`, or `refused`: it was never accepted."""
    first_s: float
    """How long the client waited for a first sign: accepted, or the end."""
    said: Mapping[str, Any]
    was_accepted: bool = False

    @property
    def reason(self) -> str | None:
        return self.said.get("reason")

    def __str__(self) -> str:
        error = self.said.get("error")
        return f"{self.state}: {error}" if error else self.state


@dataclass(slots=True)
class Pending:
    """A request that has not ended."""

    sent: float
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    first_s: float | None = None
    was_accepted: bool = False
    end: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def told(self, said: Mapping[str, Any]) -> bool:
        """Take an answer; whether it is the last one."""
        self.first_s = time.monotonic() - self.sent if self.first_s is None else self.first_s
        self.accepted.set()
        if said.get("state") == "accepted":
            self.was_accepted = True
            return False
        if not self.end.done():
            self.end.set_result(Answer(str(said.get("state")), self.first_s, said, self.was_accepted))
        return True


class VolumeClient:
    """One connection; made by :meth:`to`."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name: Final = name
        self._reader: Final = reader
        self._writer: Final = writer
        self._numbers: Final = itertools.count(1)
        self._pending: Final[dict[str, Pending]] = {}
        self._is_closed = False
        self._reading: Final = asyncio.create_task(self._read())

    @classmethod
    async def to(cls, path: Path, name: str) -> VolumeClient:
        """Connect to the service's Unix socket. `name` is in the ids of the requests. Raises OSError."""
        reader, writer = await asyncio.open_unix_connection(str(path), limit=LONGEST_LINE)
        return cls(name, reader, writer)

    async def close(self) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    @property
    def is_closed(self) -> bool:
        """Whether the service has closed the connection."""
        return self._is_closed

    async def ask(self, do: str, volume: str, **more: object) -> Answer:
        """The end of the request. Raises Lost."""
        return await self.end_of(self.begin(do, volume, **more))

    def begin(self, do: str, volume: str, **more: object) -> Pending:
        """Send the request. Raises Lost: the connection is closed."""
        if self._is_closed:
            raise Lost("the service has closed the connection")
        number = f"{self._name}-{next(self._numbers)}"
        pending = self._pending[number] = Pending(time.monotonic())
        line = json.dumps({"id": number, "do": do, "volume": volume, **more})
        self._writer.write(line.encode() + b"\n")
        return pending

    async def end_of(self, pending: Pending) -> Answer:
        """Raises Lost."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await pending.end
        except TimeoutError:
            raise Lost(f"there was no answer within {ANSWER_S:g} s") from None

    async def _read(self) -> None:
        try:
            with suppress(ConnectionError):
                while line := await self._reader.readline():
                    said = json.loads(line)
                    pending = self._pending.get(said["id"])
                    if pending is not None and pending.told(said):
                        del self._pending[said["id"]]
        finally:
            self._is_closed = True
            for pending in self._pending.values():
                pending.accepted.set()
                if not pending.end.done():
                    pending.end.set_exception(Lost("the service closed the connection before the answer"))
                    pending.end.exception()  # whoever waits is told; asyncio need not be
