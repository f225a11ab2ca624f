"""Following a key prefix of etcd: content that has changed and settled, and whether etcd is there.

Every look reads the whole prefix anew; the watch only says when. So nothing depends on what etcd remembers: after a
lost connection, a compaction or a restored backup, what counts is what is there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final, Literal

from hitless.change import Clock
from hitless.config.etcd.gateway import EtcdError, Gateway, Reading
from hitless.config.settling import Settling
from hitless.config.watch import Changed

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 10.0
"""Between two attempts to reach etcd; half to all of it by chance, so that many hosts do not come at once."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a watched source is."""

    name: str
    state: Literal["connected", "unreachable"]
    since: float
    """Unix time."""
    revision: str | None
    """Of the last look."""
    message: str
    """Why it is unreachable."""
    failing: str | None
    """Hash of the content that was tried, refused, and is still there."""


class EtcdWatcher:
    """Yields a `Changed` when what is below the prefix is not what serves, and has been the same for `settle_s`.

    `tell` is called with every new `Standing`. `applied` is the hash of what serves, and `revision` where that was found; without
    them, what is found first counts as what serves.
    """

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        prefix: str,
        hash_of: Callable[[Reading], str],
        *,
        interval_s: float,
        settle_s: float,
        applied: str | None = None,
        revision: str | None = None,
        tell: Callable[[Standing], None] = lambda _: None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.name: Final = name
        self._gateway: Final = gateway
        self._prefix: Final = prefix
        self._hash_of: Final = hash_of
        self._interval_s: Final = interval_s
        self._settling: Final = Settling(settle_s, applied)
        self._is_new = applied is None
        self._tell: Final = tell
        self._clock: Final = clock
        self._woken: Final = asyncio.Event()
        self._stream: asyncio.Task[None] | None = None
        self._failures = 0
        """Looks that failed, one after the other."""
        self._broken = 0
        """Watches that broke, one after the other."""
        self._trouble = ""
        self._since = time.time()
        self._revision = revision

    @property
    def standing(self) -> Standing:
        return Standing(
            self.name,
            "unreachable" if self._trouble else "connected",
            self._since,
            self._revision,
            self._trouble,
            self._settling.failed,
        )

    @property
    def failing(self) -> str | None:
        """Hash of the content that was tried, failed, and is still there."""
        return self._settling.failed

    def applied(self, content: str) -> None:
        """This content serves now."""
        self._settling.applied(content)

    def failed(self, content: str) -> None:
        """This content was tried and failed; it is tried again when other content was seen in between."""
        self._settling.failed_with(content)

    async def __aiter__(self) -> AsyncIterator[Changed]:
        try:
            while True:
                self._woken.clear()
                reading = await self._look()
                if reading is None:
                    await asyncio.sleep(pause_s(self._failures))
                    continue
                if self._broken:
                    await asyncio.sleep(pause_s(self._broken))
                # Before content is given away: what happens while it is loaded must wake the next look.
                self._listen(reading.revision + 1)
                content = self._hash_of(reading)
                if self._is_new:
                    self._is_new = False
                    self._settling.applied(content)
                if self._settling.see(content, self._clock()):
                    yield Changed(content, str(reading.revision))
                else:
                    await self._rest()
        finally:
            await self._end()

    async def _look(self) -> Reading | None:
        """What is there now; None if etcd cannot be asked."""
        try:
            reading = await asyncio.to_thread(self._gateway.read, self._prefix)
        except EtcdError as error:
            self._failures += 1
            self._note(str(error))
            await self._end()  # a watch whose peer has gone silently would never wake again
            return None
        self._failures = 0
        self._revision = str(reading.revision)
        self._note("")
        return reading

    def _listen(self, since: int) -> None:
        if self._stream is None or self._stream.done():
            self._stream = asyncio.create_task(self._follow(since))

    async def _follow(self, since: int) -> None:
        """Wakes for every change, and at the end of the watch, however it ends."""
        try:
            async with aclosing(self._gateway.changes(self._prefix, since=since)) as changes:
                async for revision in changes:
                    self._broken = 0
                    if revision:
                        self._woken.set()
        except EtcdError:
            self._broken += 1  # the next look tells whether etcd is gone
        finally:
            self._woken.set()

    async def _rest(self) -> None:
        due = self._settling.due_s(self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s if due is None else min(due, self._interval_s)):
                await self._woken.wait()

    def _note(self, trouble: str) -> None:
        """Tell when etcd is gone, and when it is back; not each attempt in between."""
        changed = bool(trouble) != bool(self._trouble)
        self._trouble = trouble
        if changed:
            self._since = time.time()
            self._tell(self.standing)

    async def _end(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()
            await asyncio.wait({stream})  # unlike awaiting it, this does not swallow our own cancellation


def pause_s(failures: int) -> float:
    """Seconds to wait after so many failures."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 16)) * random.uniform(0.5, 1.0)
