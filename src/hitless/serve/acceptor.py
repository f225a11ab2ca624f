"""Accepts connections on one shared listening socket, in fair shares.

All workers watch the same socket, so the kernel wakes whoever happens to be waiting, and a burst of keep-alive connections
could end up in one worker for good. A worker that has more connections than the least loaded of its siblings steps aside for a
moment: the others have that long to take what waits. If nobody did (they are busy computing), it accepts after all: fairness
never costs a client more than that moment.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

BATCH: Final = 8
"""Connections taken at one wake-up, so that a burst does not starve the requests in flight."""

STEP_ASIDE_S: Final = 0.002
"""How long a worker over its share leaves the queue to its siblings."""

EXHAUSTED_S: Final = 0.1
"""How long accepting rests when the process is out of descriptors or memory."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Takes connections from `sock` and gives each to `accept(connection)`.

    `over_share()` says whether siblings should go first, `is_full()` whether no more may be taken at all.
    `on_exhausted(error)` is told when descriptors run out.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        accept: Callable[[socket.socket], None],
        over_share: Callable[[], bool],
        is_full: Callable[[], bool],
        on_exhausted: Callable[[OSError], None],
    ) -> None:
        self._loop: Final = loop
        self._sock: Final = sock
        self._accept: Final = accept
        self._over_share: Final = over_share
        self._is_full: Final = is_full
        self._on_exhausted: Final = on_exhausted
        self._resting: asyncio.TimerHandle | None = None
        self._open = True
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._readable)

    @property
    def fd(self) -> int:
        """Its descriptor; -1 when it is closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stops, after taking what waits in the queue at this moment: those clients have connected and expect an answer."""
        if not self._open:
            return
        self._stop()
        while self._take():
            pass
        self._sock.close()

    def abandon(self) -> None:
        """Stops and leaves the queue to the other workers that accept from it."""
        if self._open:
            self._stop()
            self._sock.close()

    def wake(self) -> None:
        """A connection has closed: look again, if accepting rests because the worker was full."""
        if self._resting is not None:
            self._resting.cancel()
            self._resume()

    def _stop(self) -> None:
        self._open = False
        self._loop.remove_reader(self._sock.fileno())
        if self._resting is not None:
            self._resting.cancel()

    def _readable(self) -> None:
        if self._is_full():
            self._rest(EXHAUSTED_S, self._resume)
        elif self._over_share():
            self._rest(STEP_ASIDE_S, self._after_all)
        else:
            self._take_some()

    def _take_some(self) -> None:
        for _ in range(BATCH):
            if not self._take() or self._over_share() or self._is_full():
                return

    def _after_all(self) -> None:
        self._resume()
        if not self._is_full():
            self._take()

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._resting = self._loop.call_later(seconds, then)

    def _resume(self) -> None:
        self._resting = None
        if self._open:
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def _take(self) -> bool:
        try:
            connection, _address = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._on_exhausted(error)
            if self._open and self._resting is None:
                self._rest(EXHAUSTED_S, self._resume)
            return False
        connection.setblocking(False)
        self._accept(connection)
        return True
