"""Replaced generations on their way out: each is visible while it lasts, and says by whom it is held past its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from hitless.change import Deadline, Events
from hitless.live.closing import Closer
from hitless.live.instance import Instance
from hitless.live.lease import Lease, Leases
from hitless.live.snapshot import Snapshot

Overdue = Literal["wait", "close"]
"""What happens to leases that are held past the drain deadline: they are reported and waited for, or the generation is
closed under them.
"""


@dataclass(frozen=True, slots=True)
class DrainReport:
    generation: int
    seconds: float
    finished: int
    """Leases that were held when the generation was replaced, and were given back."""
    cut: int
    """Leases under which the generation was closed."""


class Drain:
    """One generation that drains."""

    def __init__(self, snapshot: Snapshot[Any], timeout_s: float) -> None:
        self.snapshot: Final = snapshot
        self.began: Final = time.monotonic()
        self.deadline = Deadline.after(timeout_s)
        self.held_at_first: Final = len(snapshot.held)
        self.overdue: tuple[str, ...] = ()
        """Who held it past the deadline: what and where it was taken."""
        self.change: int | None = None
        """The change that replaced it, by the journal's number."""
        self.is_cut = False
        """Whether it is to be closed now, whoever holds it."""
        self.ended: Final = asyncio.Event()

    def waits_for(self) -> list[Lease[Any]]:
        """The leases that are held, the oldest first."""
        return sorted(self.snapshot.held.copy(), key=lambda lease: lease.since)


class Drains:
    """Watches over replaced generations, and closes what only they had.

    Events: `lease.overdue` for each lease that is held past the deadline, `generation.drained`.
    """

    def __init__(
        self,
        leases: Leases,
        closer: Closer,
        events: Events,
        *,
        spawn: Callable[[Coroutine[Any, Any, object]], None],
        overdue: Overdue,
    ) -> None:
        self._leases: Final = leases
        self._closer: Final = closer
        self._events: Final = events
        self._spawn: Final = spawn
        self._overdue: Final = overdue
        self._loop: Final = asyncio.get_running_loop()
        self.running: Final[list[Drain]] = []
        self.leaving: Final[list[Instance]] = []
        """Instances that the current generation does not have, and older ones may still use."""
        self._waiting: Final[set[asyncio.Event]] = set()
        self.on_end: Callable[[Drain, DrainReport], Coroutine[Any, Any, object]] | None = None

    def begin(self, snapshot: Snapshot[Any], timeout_s: float) -> Drain:
        """See the generation out. It must have been replaced already."""
        drain = Drain(snapshot, timeout_s)
        self.running.append(drain)
        self._spawn(self._run(drain))
        return drain

    async def ended(self) -> None:
        """Wait until nothing drains. Bound it with a deadline."""
        while self.running:
            await self.running[0].ended.wait()

    def cut(self) -> None:
        """Close everything that drains now, under whoever holds it."""
        for drain in self.running:
            drain.is_cut = True
        self._woken()

    async def until(
        self,
        snapshots: Sequence[Snapshot[Any]],
        is_free: Callable[[], bool],
        deadline: Deadline,
        *,
        every: bool,
    ) -> bool:
        """Wait until `is_free`, which is asked when the last lease of one of them is given back, or with `every` lease;
        whether it came to be in time.
        """
        changed = asyncio.Event()
        self._waiting.add(changed)
        self._watch(snapshots, 1 if every else 0)
        try:
            async with asyncio.timeout(deadline.remaining()):
                while not is_free():
                    await changed.wait()
                    changed.clear()
            return True
        except TimeoutError:
            return is_free()
        finally:
            self._waiting.discard(changed)
            self._watch(snapshots, -1 if every else 0)

    def _watch(self, snapshots: Sequence[Snapshot[Any]], watchers: int) -> None:
        with self._leases.lock:
            for snapshot in snapshots:
                snapshot.watchers += watchers
                is_unwatched = snapshot is self._leases.current and not snapshot.watchers
                snapshot.wake = None if is_unwatched else self._wake

    def _wake(self) -> None:
        """Called by leases, in whatever thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        for changed in self._waiting:
            changed.set()

    async def _run(self, drain: Drain) -> None:
        snapshot, cut = drain.snapshot, 0
        while not await self.until(
            [snapshot], lambda: drain.is_cut or not snapshot.held, drain.deadline, every=False
        ):
            self._report(drain)
            drain.is_cut = drain.is_cut or self._overdue == "close"
            drain.deadline = Deadline.after(max(drain.deadline.seconds, 1.0))
        if snapshot.held:
            cut = self._cut(snapshot)
        await self._retire(drain, cut)

    def _report(self, drain: Drain) -> None:
        held = drain.waits_for()
        drain.overdue = tuple(f"{lease.what} at {lease.where}" for lease in held)
        for lease in held:
            self._events.emit(
                "lease.overdue",
                generation=drain.snapshot.number,
                what=lease.what,
                where=lease.where,
                held_s=round(time.monotonic() - lease.since, 3),
                then="closed anyway" if self._overdue == "close" else "waited for",
            )

    def _cut(self, snapshot: Snapshot[Any]) -> int:
        """Close the generation under its users: they keep what they have in their hands, and get nothing more."""
        with self._leases.lock:
            count = len(snapshot.held)
            snapshot.instances.clear()
        return count

    async def _retire(self, drain: Drain, cut: int) -> None:
        snapshot = drain.snapshot
        with self._leases.lock:
            self._leases.generations.remove(snapshot)
            snapshot.wake = None
        await self.sweep()
        self.running.remove(drain)
        seconds = round(time.monotonic() - drain.began, 6)
        report = DrainReport(snapshot.number, seconds, max(0, drain.held_at_first - cut), cut)
        self._events.emit(
            "generation.drained",
            generation=snapshot.number,
            seconds=seconds,
            finished=report.finished,
            cut=cut,
        )
        drain.ended.set()
        if self.on_end is not None:
            await self.on_end(drain, report)

    async def sweep(self) -> None:
        """Close what no generation in use has."""
        numbers = [snapshot.number for snapshot in self._leases.generations]
        free = [each for each in self.leaving if not _is_used(each, numbers)]
        for each in free:
            self.leaving.remove(each)
        await self._closer.close(free)


def _is_used(instance: Instance, generations: list[int]) -> bool:
    last = instance.last
    return last is None or any(instance.first <= number <= last for number in generations)
