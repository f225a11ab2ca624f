"""Says when everything that was sent at once has been taken by every publisher that was to have it."""

from __future__ import annotations

import asyncio


class NotTaken(Exception):
    """Some of it was dropped or given up: it has not arrived everywhere."""


class Receipt:
    """Owned by the agent's event loop.

    What no pipeline wants, and what a transformer keeps to itself (as an aggregation does), counts as taken.
    """

    __slots__ = ("_done", "_is_sent", "_lost", "_sent", "_waiting")

    def __init__(self) -> None:
        self._sent = self._waiting = self._lost = 0
        self._is_sent = False
        self._done: asyncio.Event | None = None

    def expect(self, count: int) -> None:
        """So many more are on their way to one publisher."""
        self._sent += count
        self._waiting += count

    def settle(self, count: int, *, taken: bool) -> None:
        """So many have been taken by that publisher, or never will be."""
        self._waiting -= count
        self._lost += 0 if taken else count
        self._tell()

    def sent(self) -> None:
        """Nothing more is expected."""
        self._is_sent = True
        self._tell()

    @property
    def is_done(self) -> bool:
        return self._is_sent and not self._waiting

    @property
    def lost(self) -> int:
        return self._lost

    async def taken(self) -> None:
        """Wait until all is taken. It ends: every outlet tries a bounded number of times, and says so when it closes.

        Raises:
            NotTaken: something never will be.
        """
        if not self.is_done:
            self._done = self._done or asyncio.Event()
            await self._done.wait()
        if self._lost:
            raise NotTaken(
                f"{self._lost} of {self._sent} were not taken by their publishers; see the log for why"
            )

    def _tell(self) -> None:
        if self._done is not None and self.is_done:
            self._done.set()
