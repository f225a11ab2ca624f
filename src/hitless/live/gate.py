"""The gate before resources that are stopped before their successors start: new users wait, those inside finish.

What decides who may pass is in `holds_back`. A user is inside if it, or an action around it, named one of the resources, or
named none and so may use all.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import TYPE_CHECKING, Any, Final

from hitless.change import DeadlinePassed
from hitless.live.errors import QueueFull, WouldBlock
from hitless.live.timeouts import Quiesce

if TYPE_CHECKING:
    from hitless.live.lease import Lease


class Gate:
    """Closed from the moment that it is made until `open`. `policy` bounds the waiting."""

    def __init__(self, ids: Iterable[tuple[str, str | None]], policy: Quiesce) -> None:
        self.ids: Final = frozenset(ids)
        """The resources that are stopped, and all that need them."""
        self._policy: Final = policy
        self._opened: Final[Future[None]] = Future()
        self._waiting = 0
        self._lock: Final = threading.Lock()

    def covers(self, node_id: tuple[str, str | None] | None) -> bool:
        """Whether a lease of `id` uses what is stopped."""
        return node_id is None or node_id in self.ids

    def holds_back(self, node_id: tuple[str, str | None] | None, outer: Lease[Any] | None) -> bool:
        """Whether a lease of `id` inside of `outer` must wait."""
        if not self.covers(node_id):
            return False
        while outer is not None:
            if outer.generation is not None and self.covers(outer.id):
                return False  # what it wants is kept by the outer one, which must be able to finish
            outer = outer.outer
        return True

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    def open(self) -> None:
        """Let everybody go on."""
        self._opened.set_result(None)

    def wait(self) -> None:
        """Wait in a thread. Raises WouldBlock, QueueFull, DeadlinePassed."""
        if _runs_a_loop():
            raise WouldBlock(
                f"{self._what()} are being replaced; in async code take the lease with async with"
            )
        self._enter()
        try:
            self._opened.result(self._policy.wait_s)
        except Late:
            raise self._late() from None
        finally:
            self._leave()

    async def wait_async(self) -> None:
        """Wait in a task. Raises QueueFull, DeadlinePassed."""
        self._enter()
        try:
            # Shielded: a waiter that is cancelled must not cancel the future that all wait for.
            async with asyncio.timeout(self._policy.wait_s):
                await asyncio.shield(asyncio.wrap_future(self._opened))
        except TimeoutError:
            raise self._late() from None
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if self._waiting >= self._policy.queue_limit:
                raise QueueFull(
                    f"{self._waiting} wait already for {self._what()}, which are being replaced; try later"
                )
            self._waiting += 1

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1

    def _late(self) -> DeadlinePassed:
        return DeadlinePassed(f"{self._what()} were not replaced", self._policy.wait_s)

    def _what(self) -> str:
        return ", ".join(name if key is None else f"{name}[{key}]" for name, key in sorted(self.ids, key=str))


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
