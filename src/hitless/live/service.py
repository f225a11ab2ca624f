"""A started runtime: one owner of everything that changes, on one event loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pydantic import BaseModel

from hitless.change import (
    ChangeInProgress,
    Deadline,
    DeadlinePassed,
    Events,
    Journal,
    Kind,
    Outcome,
    Plan,
    Refused,
    Status,
    Transactions,
)
from hitless.change.ending import to_refusal
from hitless.change.threads import in_thread
from hitless.config import Loaded, Source
from hitless.live.change import Reconfiguration
from hitless.live.closing import Closer
from hitless.live.commands import Commands
from hitless.live.drains import Drain, DrainReport, Drains
from hitless.live.errors import HostDecides, StartFailed, WouldBlock
from hitless.live.graph import Graph
from hitless.live.hooks import Hooks
from hitless.live.host import HOST, Host
from hitless.live.hosted import Hosted
from hitless.live.making import Maker, Stragglers
from hitless.live.parts import Parts
from hitless.live.reading import Read, Reader, revived
from hitless.live.records import Records, write_line
from hitless.live.triggers import Hangup, Triggers
from hitless.live.veil import Veil
from hitless.live.watching import Watching
from hitless.live.wish import Wish
from hitless.notify import Notifier

if TYPE_CHECKING:
    from hitless.live.runtime import Runtime

S = TypeVar("S", bound=BaseModel)
T = TypeVar("T")

log = logging.getLogger(__name__)

STOP_GRACE_S: Final = 30.0
"""After the drain deadline, for closes when the runtime stops."""
NOTIFY_GRACE_S: Final = 5.0
"""For notices that were not sent when the runtime stops."""


class Service(Generic[S]):
    """Runs the changes of one runtime, one at a time, whoever asks for them."""

    def __init__(
        self, runtime: Runtime[S], graph: Graph, sources: Sequence[Source], triggers: Triggers
    ) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self.runtime: Final = runtime
        self.sources: Final = tuple(sources)
        self.triggers: Final = triggers
        self.events: Final[Events] = runtime.events
        self.began: Final = time.time()
        self.last_outcome: Outcome | None = None
        self.applied: Wish[S] | None = None
        self.attempted_hash: str | None = None
        self.stragglers: Final = Stragglers()
        self.parts: Final = self._parts(graph)
        self.host: Final = HOST.get()
        self._records: Final = Records(runtime.name, triggers, is_ours=self.host is None)
        self.transactions: Final = Transactions(self.journal, self.events)
        self._reader: Final = Reader(runtime.model, self.sources, runtime.limits.read_s)
        self._before: Wish[S] | None = None
        self._first: Read[S] | None = None
        """What to start with, between the reading and the start."""
        self._reading: str | None = None
        self._has_read: Final = asyncio.Event()
        self._loaded: Loaded[S] | None = None
        """What was read from the sources last."""
        self._is_stopping = False
        self._stop: asyncio.Future[None] | None = None
        self.hangup: Final = Hangup(self._reload_by_signal)
        self.watching: Watching | None = None
        self._commands: Final = Commands(self)
        self.notifier: Final = Notifier(
            self.events,
            runtime.notify if self.host is None else (),  # else every worker would tell of it
            service=runtime.name or Path(sys.argv[0]).name or "python",
        )
        self._unsubscribe: Final = self.events.subscribe(partial(write_line, log))

    def _parts(self, graph: Graph) -> Parts:
        runtime, veil = self.runtime, Veil()
        maker = Maker(self.stragglers)
        closer = Closer(maker, self.events, self.stragglers, veil)
        drains = Drains(
            runtime.leases, closer, self.events, spawn=self.stragglers.add, overdue=runtime.overdue
        )
        drains.on_end = self._record_drain
        return Parts(
            graph=graph,
            leases=runtime.leases,
            maker=maker,
            closer=closer,
            drains=drains,
            hooks=Hooks(tuple(runtime.hooks), runtime.model, self.events, runtime.limits.hook_s, veil),
            events=self.events,
            limits=runtime.limits,
            veil=veil,
            slots=asyncio.Semaphore(runtime.limits.builds_at_once),
        )

    # Life

    async def start(self, settings: S | None) -> Outcome:
        """Raises StartFailed."""
        if self.host is not None:
            return await self._start_hosted(self.host, settings)
        try:
            await self._commands.open(self.runtime.name, self.triggers.control)
            outcome = await self._change("start", settings, requested_by="start")
        except BaseException:
            await self._end()
            raise
        await self._started(outcome)
        if self.triggers.sighup:
            self.hangup.install()
        if self.triggers.watch_interval_s is not None:
            self.watching = Watching(self, self.triggers, self._loaded)
        return outcome

    async def _start_hosted(self, host: Host, settings: S | None) -> Outcome:
        """The host's triggers and its journal are those that count."""
        await self._admitted(host, settings)
        outcome = await self._change("start", settings, requested_by="start")
        if outcome.status is not Status.APPLIED:
            host.failed(outcome.message, outcome.detail)
        await self._started(outcome)
        host.attached(Hosted(self))
        return outcome

    async def _admitted(self, host: Host, settings: S | None) -> None:
        """Wait for room for what the settings ask for; not if they are refused: then the start says so, and nobody has made
        room for it.
        """
        self._first = await self._asked("start", settings)
        with suppress(Refused):
            self._reconfiguration("start", self._first[0]).plan()
            await host.room()

    async def _started(self, outcome: Outcome) -> None:
        if outcome.status is not Status.APPLIED:
            await self._end()
            raise StartFailed(outcome)

    async def stop(self) -> None:
        """Whoever asks waits for the end of the one stop; if the waiting is cancelled, the stop goes on."""
        if self._stop is None:
            if self._is_stopping:
                return  # it has not been started
            with self.parts.leases.outside():
                self._stop = asyncio.ensure_future(self._stopped())
        await asyncio.shield(self._stop)

    async def _stopped(self) -> None:
        self._is_stopping = True
        self.transactions.give_up()
        await (
            self.transactions.idle()
        )  # not for a source that is being read: it may hang, and changes nothing any more
        leases, drains = self.parts.leases, self.parts.drains
        self.events.emit("service.stopping", generation=self.transactions.generation)
        with leases.lock:
            current, leases.current = leases.current, None
        if current is not None:
            for each in current.instances.values():
                each.leave(current.number)
                drains.leaving.append(each)
            drains.begin(current, self.parts.limits.drain_s)
        try:
            await Deadline.after(self.parts.limits.drain_s).wait(
                drains.ended(), "the last leases were not given back"
            )
        except DeadlinePassed as error:
            log.warning("%s; what they use is closed all the same", error)
            drains.cut()
        await self.stragglers.settled(Deadline.after(STOP_GRACE_S))
        await self._end()

    async def drained(self) -> None:
        await self.parts.drains.ended()

    async def _end(self) -> None:
        self._is_stopping = True
        self.hangup.uninstall()
        await self.hangup.close()
        if self.watching is not None:
            await self.watching.close()
        await self._commands.close()
        self.transactions.close()
        self._records.close()
        self._unsubscribe()
        await in_thread(partial(self.notifier.close, NOTIFY_GRACE_S), "send the last notices")

    # Changes

    async def reload(
        self, settings: S | None, *, requested_by: str, timeout_s: float | None = None
    ) -> Outcome:
        self._is_ours()
        return await self._change("reload", settings, requested_by=requested_by, timeout_s=timeout_s)

    async def rollback(self, *, requested_by: str, timeout_s: float | None = None) -> Outcome:
        self._is_ours()
        return await self._change("rollback", None, requested_by=requested_by, timeout_s=timeout_s)

    def _is_ours(self) -> None:
        """Raises HostDecides."""
        if self.host is not None:
            raise HostDecides(
                "this runtime changes together with those of the other workers; say hitless reload, or hitless rollback"
            )

    def plan(self, settings: S) -> Plan:
        """Raises Refused."""
        return self._reconfiguration("reload", Wish.of(settings)).plan()

    async def read_plan(self) -> Plan:
        """What a reload would do now. Raises Refused."""
        return self._reconfiguration("reload", (await self.read())[0]).plan()

    @property
    def journal(self) -> Journal:
        return self._records.journal

    @property
    def busy(self) -> str | None:
        return self.transactions.busy or self._reading

    async def idle(self) -> None:
        """Wait until no change is in progress, its reading of the sources included."""
        while self.busy is not None:
            await self._has_read.wait()
            await self.transactions.idle()

    async def _change(
        self, kind: Kind, settings: S | None, *, requested_by: str, timeout_s: float | None = None
    ) -> Outcome:
        """Raises ChangeInProgress."""
        self._is_going_on()
        if self.busy is not None:
            raise ChangeInProgress(self.busy)
        self._reading = f"a {kind} (asked for by {requested_by})"
        self._has_read.clear()
        with self.parts.leases.outside():  # it may be asked for within a lease, of which it is no part
            try:
                asked, loaded = await self._asked(kind, settings)
            finally:
                self._reading = None
                self._has_read.set()
            self._is_going_on()
            change = self._reconfiguration(kind, asked)
            return await self._run(change, asked, loaded, requested_by, timeout_s)

    def _is_going_on(self) -> None:
        """Raises ChangeInProgress."""
        if self._is_stopping:
            raise ChangeInProgress("the stop of the runtime")

    async def _run(
        self,
        change: Reconfiguration[S],
        asked: Wish[S] | Refused,
        loaded: Loaded[S] | None,
        requested_by: str,
        timeout_s: float | None,
    ) -> Outcome:
        before = self.parts.leases.current
        if isinstance(asked, Wish):
            self.attempted_hash = asked.hash
            self.parts.veil.learn(asked.leaves)
        outcome = await self.transactions.run(
            change, requested_by=requested_by, deadline_s=timeout_s or self.parts.limits.change_s
        )
        self.last_outcome = outcome
        self._loaded = loaded or self._loaded
        for drain in self.parts.drains.running:
            drain.change = drain.change or (outcome.change if before is drain.snapshot else None)
        if outcome.status is Status.APPLIED and isinstance(asked, Wish):
            self._before, self.applied = self.applied, asked
            if before is not None:
                await self._tell_hooks(before.settings, asked.settings)
        if self.watching is not None and change.kind != "rollback":
            self.watching.tell(loaded, outcome)
        return outcome

    async def _tell_hooks(self, old: S, new: S) -> None:
        told = self.parts.hooks.committed(old, new)
        if self.parts.hooks.is_inside:
            self.stragglers.add(told)
        else:
            await told

    def swapped(self, wish: Wish[S]) -> None:
        """The host has made a change: `wish` is in force."""
        before, self.applied = self.applied, wish
        self.transactions.resume(self.transactions.generation + 1)
        self.events.emit("change.committed", generation=self.transactions.generation)
        if before is not None:  # told beside: the host waits for all processes
            self.stragglers.add(self.parts.hooks.committed(before.settings, wish.settings))

    async def _asked(self, kind: Kind, settings: S | None) -> Read[S]:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if kind == "start" and self.host is not None and self.host.inherited is not None:
            return await self._inherited(self.host.inherited), None
        if kind == "rollback":
            nowhere = Refused("nothing_to_roll_back_to", "there is no earlier generation to roll back to")
            return self._before or nowhere, None
        if settings is not None:
            try:
                return await in_thread(partial(Wish.of, settings), "compare settings"), None
            except Exception as error:  # noqa: BLE001 - so are serializers of the model
                return to_refusal(error), None
        return await self.read()

    async def _inherited(self, text: str) -> Wish[S] | Refused:
        try:
            return Wish.of(await in_thread(partial(revived, self.runtime.model, text), "take settings"))
        except Refused as refused:
            return refused

    async def read(self) -> Read[S]:
        """The sources as they are now."""
        return await self._reader.read()

    def _reconfiguration(self, kind: Kind, asked: Wish[S] | Refused) -> Reconfiguration[S]:
        return Reconfiguration(
            self.parts, asked, self.applied, kind=kind, number=self.transactions.generation + 1
        )

    async def _reload_by_signal(self) -> None:
        await self.idle()
        if not self._is_stopping:
            await self.reload(None, requested_by="SIGHUP")

    async def _record_drain(self, drain: Drain, report: DrainReport) -> None:
        await self.transactions.idle()
        if not self._is_stopping:
            await self.transactions.drained(
                drain.change, finished=report.finished, handed_over=0, cut=report.cut, seconds=report.seconds
            )

    def from_thread(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, for a thread that is not the runtime's.

        Raises:
            WouldBlock: this is a thread with an event loop.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(work, self.loop).result()
        work.close()
        raise WouldBlock("this thread runs an event loop; await the call without _sync instead")
