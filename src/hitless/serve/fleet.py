"""All workers of one service, of all generations, and the listening sockets: the thing that changes act upon.

One generation is current: it accepts, and connections are handed to it. Others are being built (nobody knows them), or drain.
The fleet keeps the current one at its size, whoever dies, and re-aims every drain when the current one changes, so that
a connection that outlives several generations ends up with the one that serves.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final

from hitless.change import Deadline, Events, Refused, State
from hitless.serve import channel, faults, listeners
from hitless.serve.addresses import look_up
from hitless.serve.binding import remove_path
from hitless.serve.drains import Drain
from hitless.serve.generations import Host, ServeGeneration
from hitless.serve.listeners import Listeners, Prepared
from hitless.serve.mending import Mender
from hitless.serve.reaper import Exit, Reaper
from hitless.serve.scoreboard import Scoreboard
from hitless.serve.settings import ServeSettings
from hitless.serve.templates import TemplateProcess
from hitless.serve.workers import WorkerProcess, WorkerState

ORPHANS_LET_GO_S: Final = 2.0
"""How long a start waits for an address that is busy; then it is refused."""

TAKERS: Final = 8
"""Workers to which one draining worker hands over; in larger fleets each draining worker gets another eight."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A generation that is ready and serves nobody yet."""

    generation: ServeGeneration
    workers: tuple[WorkerProcess, ...]
    listeners: Prepared
    metrics: Prepared


class Fleet:
    """See the module. All methods belong to the supervisor's event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        events: Events,
        *,
        systemd_fds: int,
        on_crash_loop: Callable[[ServeGeneration], None],
        on_drain_ended: Callable[[Drain], None],
    ) -> None:
        self._loop: Final = loop
        self.events: Final = events
        self.listeners: Final = Listeners(systemd_fds)
        self.metrics_listeners: Final = Listeners(setting="metrics.bind")
        self.host: Final = Host(
            loop=loop,
            reaper=Reaper(loop),
            events=events,
            board=Scoreboard.create(),
            on_worker_gone=self._worker_gone,
            on_worker_retire=self._worker_retires,
            on_template_gone=self._template_gone,
        )
        self.current: ServeGeneration | None = None
        self.kept: ServeGeneration | None = None
        """The generation before the current one, its template paused for a rollback; None when probation is over."""
        self.preparing: ServeGeneration | None = None
        self.drains: list[Drain] = []
        self.mender: Final = Mender(loop, self, on_crash_loop=on_crash_loop)
        self._on_drain_ended: Final = on_drain_ended
        self._generations: dict[int, ServeGeneration] = {}
        self._numbers = 0
        self.totals: Final[Counter[str]] = Counter()
        """Counters of the workers that are gone."""
        self.retiring: Final[set[int]] = set()
        """Numbers of workers that are to be replaced, and do not count any more."""
        self._probation: asyncio.TimerHandle | None = None
        self._stopping = False

    # Passing it on to the supervisor that replaces this one

    def freeze(self) -> dict[str, Any]:
        """Everything that runs, by descriptor and pid. Only between two changes (`is_settled`)."""
        now = self._loop.time()
        return {
            "board": self.host.board.fd,
            "numbers": self._numbers,
            "next_worker": next(self.host.numbers),
            "generations": [generation.freeze() for generation in self._generations.values()],
            "current": self._current().number,
            "kept": None if self.kept is None else self.kept.number,
            "probation_s": None if self._probation is None else max(0.0, self._probation.when() - now),
            "retiring": sorted(self.retiring),
            "drains": [drain.freeze() for drain in self.drains],
            "listeners": listeners.freeze(self.listeners),
            "metrics_listeners": listeners.freeze(self.metrics_listeners),
            "totals": dict(self.totals),
        }

    def thaw(self, frozen: Mapping[str, Any]) -> None:
        """Goes on where `freeze` left off, in another program of the same process.

        Raises:
            ValueError: the settings are not valid for this version of Hitless.
        """
        self.host.board = Scoreboard(frozen["board"])
        self.host.numbers = count(frozen["next_worker"])
        self._numbers = frozen["numbers"]
        for each in frozen["generations"]:
            self._generations[each["number"]] = ServeGeneration.thaw(self.host, each)
        self.current = self._generations[frozen["current"]]
        self.retiring.update(frozen["retiring"])
        self.totals.update(frozen["totals"])
        self.listeners.take_over(listeners.thaw(frozen["listeners"]))
        self.metrics_listeners.take_over(listeners.thaw(frozen["metrics_listeners"]))
        if frozen["kept"] is not None:
            self.kept = self._generations[frozen["kept"]]
            self._probation = self._loop.call_later(frozen["probation_s"] or 0.0, self._probation_over)
            if self.kept.template is None:  # it died in the last moment
                self.drop_kept()
        workers = {worker.number: worker for worker in self.workers()}
        for each in frozen["drains"]:
            self.drains.append(Drain.thaw(self._loop, each, workers, on_end=self._drain_ended))
        self.host.reaper.reap()
        for worker in self.workers():
            if worker.state in (WorkerState.STARTING, WorkerState.READY):
                worker.kill()  # nobody waits for it any more; if it was wanted, another one is started
        for generation in list(self._generations.values()):
            self._forget_if_over(generation)
        self.mender.mend()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being built."""
        return self.preparing is None and self.current is not None and not self.mender.is_busy

    # Changes

    def next_number(self) -> int:
        return self._numbers + 1

    async def prepare(
        self,
        settings: ServeSettings,
        settings_hash: str,
        *,
        deadline: Deadline,
        template_of: ServeGeneration | None = None,
    ) -> Candidate:
        """A new generation, ready, beside the current one; `template_of` lends its template (a rollback).

        Raises:
            Refused, DeadlinePassed: nothing is left of it once `discard_preparing` was called.
        """
        self._numbers += 1
        generation = self.preparing = ServeGeneration(self.host, self._numbers, settings, settings_hash)
        self._generations[generation.number] = generation
        if template_of is not None:
            generation.borrow_template(template_of)
        listeners = await self._open(settings, deadline)
        try:
            metrics = await self._open_metrics(settings, deadline)
        except BaseException:
            self.listeners.discard(listeners)
            raise
        faults.reach("listeners.opened")
        try:
            workers = await generation.prepare(
                deadline, partial(self._make_room, deadline) if self.makes_room(settings) else None
            )
        except BaseException:
            self.listeners.discard(listeners)
            self.metrics_listeners.discard(metrics)
            raise
        generation.life.move(State.READY)
        return Candidate(generation, tuple(workers), listeners, metrics)

    def makes_room(self, settings: ServeSettings) -> bool:
        """Whether the current generation must end before one with `settings` can start: programs have what only one can have."""
        live = None if self.current is None else self.current.live
        return settings.interface == "program" and live is not None and bool(live.exclusive)

    async def _make_room(self, deadline: Deadline) -> None:
        """Ends the current generation's workers. If nothing comes of the new ones, the mender starts them again.

        Raises:
            DeadlinePassed: they did not end.
        """
        await self.mender.hold(deadline)
        generation = self._current()
        leaving = generation.undrained()
        if leaving:
            self.drain(generation, leaving, why="stopped first")
            await deadline.wait(self.drains[-1].ended(), "the program that is to be replaced did not end")

    async def _open(self, settings: ServeSettings, deadline: Deadline) -> Prepared:
        """A first start may follow close upon the death of a supervisor whose workers are just letting go of the addresses."""
        where = await look_up(self.listeners.unopened(settings.addresses), deadline)
        patience = deadline.sooner(ORPHANS_LET_GO_S if self.current is None else 0.0)
        while True:
            try:
                return self.listeners.open(settings.addresses, backlog=settings.backlog, where=where)
            except Refused as refusal:
                if refusal.reason != "address_busy" or patience.expired:
                    raise
            await asyncio.sleep(ORPHANS_LET_GO_S / 20)

    async def _open_metrics(self, settings: ServeSettings, deadline: Deadline) -> Prepared:
        listeners = self.metrics_listeners
        binds = [settings.metrics.bind] if settings.metrics.bind else []
        where = await look_up(listeners.unopened(binds), deadline, listeners.setting)
        return listeners.open(binds, backlog=16, where=where)

    def discard_preparing(self, candidate: Candidate | None) -> None:
        if self.preparing is not None:
            over, self.preparing = self.preparing, None
            over.discard()
            self._forget_if_over(over)
        if candidate is not None:
            self.listeners.discard(candidate.listeners)
            self.metrics_listeners.discard(candidate.metrics)
        self.mender.release()

    async def commit(self, candidate: Candidate) -> None:
        """The swap: the new generation accepts, then the old one drains into it.

        Raises:
            Refused, DeadlinePassed: a new worker died at this moment; the old generation still accepts.
        """
        new, old = candidate.generation, self.current
        await new.serve(candidate.workers, candidate.listeners.wanted.values())
        faults.reach("generation.serves")
        gone = self.listeners.commit(candidate.listeners)
        draining = list(self.drains)
        self.current, self.preparing = new, None
        new.life.move(State.SERVING)
        new.tell_siblings(self.serving())
        self.retiring.clear()
        self.retiring.update(one.number for one in candidate.workers if one.wants_to_retire)
        self.mender.forgive()
        if old is not None:
            old.life.move(State.DRAINING)
            self._keep(old)
            leaving = old.undrained()
            if leaving or not self.mender.is_held:  # else they were ended to make room
                self.drain(old, leaving, why="replaced", last=[each.key for each in gone])
            self._forget_if_over(old)
        faults.reach("generation.drains")
        for listener in [*gone, *self.metrics_listeners.commit(candidate.metrics)]:
            listener.sock.close()
            remove_path(listener)
        faults.reach("listeners.closed")
        self.reaim(draining)
        self.mender.release()
        self.mender.mend()  # one of the new may have died, or had enough, since it was ready

    def undo(self, candidate: Candidate) -> None:
        """The commit failed: what the new workers have accepted goes back to the old generation."""
        if self.current is None:
            return  # there is nobody to go back to: all of it is discarded
        new, self.preparing = candidate.generation, None
        new.return_template()
        fresh = [each.key for each in candidate.listeners.fresh]
        self.drain(new, new.undrained(), why="undone", last=fresh)
        self._forget_if_over(new)

    async def resize(
        self, workers: Sequence[WorkerProcess], settings: ServeSettings, settings_hash: str
    ) -> None:
        """Takes `workers` (ready ones, of the current generation) in; drains the newest that are too many."""
        generation = self._current()
        await generation.serve(workers, self.listeners)
        generation.settings, generation.settings_hash = settings, settings_hash
        self.reaim(self.drains)
        generation.live_before = None  # a rollback takes back what was changed last
        self.shed(self.serving()[settings.workers :])

    def shed(self, workers: Sequence[WorkerProcess]) -> None:
        """Drains some workers of the current generation into the others."""
        generation = self._current()
        if workers:
            self.retiring.update(worker.number for worker in workers)
            self.drain(generation, workers, why="scaled down")
        generation.tell_siblings(self.serving())

    def serving(self) -> list[WorkerProcess]:
        """The current generation's workers that accept and will stay, oldest first."""
        if self.current is None:
            return []
        return [
            worker
            for number, worker in sorted(self.current.workers.items())
            if worker.state is WorkerState.SERVING and number not in self.retiring
        ]

    def stop(self, timeout_s: float) -> list[Drain]:
        """Drains everything: nobody accepts any more. Returns the drains, all of them begun."""
        self._stopping = True
        keys = [listener.key for listener in self.listeners]
        self.mender.stop()
        self.drop_kept()
        self.discard_preparing(None)
        self.listeners.close_all()
        self.metrics_listeners.close_all()
        self.shorten(timeout_s)  # drains of earlier changes must not outlast the stop
        if self.current is not None:
            self.current.drop_template()
            self.drain(self.current, self.current.undrained(), why="stopping", timeout_s=timeout_s, last=keys)
        return list(self.drains)

    def shorten(self, timeout_s: float) -> bool:
        """Lets no drain take longer than `timeout_s` from now; returns whether any would have."""
        late = [drain for drain in self.drains if drain.remaining_s > timeout_s]
        for drain in late:
            drain.shorten(timeout_s)
        self.reaim(late)
        return bool(late)

    def drop_kept(self) -> None:
        """Ends probation: a rollback is a reload of the old settings from now on."""
        if self._probation is not None:
            self._probation.cancel()
            self._probation = None
        if self.kept is not None:
            self.kept.drop_template()
            over, self.kept = self.kept, None
            self._forget_if_over(over)

    @property
    def on_probation(self) -> bool:
        return self._probation is not None

    # Draining

    def drain(
        self,
        generation: ServeGeneration,
        workers: Sequence[WorkerProcess],
        *,
        why: str,
        last: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> None:
        """Begins to drain `workers` into those that serve. `last`: see WorkerProcess.drain."""
        if timeout_s is None:
            timeout_s = self._current().settings.drain.timeout
        drain = Drain(
            self._loop,
            generation=generation.number,
            workers=workers,
            timeout_s=timeout_s,
            why=why,
            on_end=self._drain_ended,
        )
        self.drains.append(drain)
        leaving = {worker.number for worker in workers}
        takers = [] if self._stopping else [one for one in self.serving() if one.number not in leaving]
        for number, worker in enumerate(workers):
            if worker.may_have_accepted and worker.state is not WorkerState.DRAINING:
                worker.drain(self._pairs(takers, number), timeout_s=timeout_s, last=last)
            elif worker.state is not WorkerState.DRAINING:
                worker.kill()
        self.events.emit(
            "drain.started", generation=generation.number, workers=len(workers), why=why, timeout_s=timeout_s
        )

    def _pairs(self, takers: Sequence[WorkerProcess], giver: int) -> list[socket.socket]:
        """One handover pair to each of up to `TAKERS` workers; returns the giver's ends."""
        ends = []
        for offset in range(min(TAKERS, len(takers))):
            ours, theirs = channel.pair()
            takers[(giver * TAKERS + offset) % len(takers)].take_from(theirs)
            ends.append(ours)
        return ends

    def reaim(self, drains: Sequence[Drain]) -> None:
        """Workers that still drain since an earlier change hand over to the current generation from now on."""
        takers = [] if self._stopping else self.serving()
        for drain in drains:
            for number, worker in enumerate(one for one in drain.left if one.may_have_accepted):
                worker.drain(self._pairs(takers, number), timeout_s=drain.remaining_s, last=())

    def _drain_ended(self, drain: Drain) -> None:
        if drain in self.drains:
            self.drains.remove(drain)
        report = drain.report
        assert report is not None
        self.events.emit("drain.ended", **report.to_json(), why=drain.why, change=drain.change)
        for line in report.cut_lines:
            self.events.emit("connection.cut", generation=drain.generation, connection=line)
        self._on_drain_ended(drain)

    def _keep(self, old: ServeGeneration) -> None:
        self.drop_kept()
        seconds = self._current().settings.start.probation
        if seconds <= 0 or old.template is None or not old.template.is_alive:
            old.drop_template()
            return
        self.kept = old
        self._probation = self._loop.call_later(seconds, self._probation_over)

    def _probation_over(self) -> None:
        self.events.emit("probation.ended", generation=self._current().number)
        self.drop_kept()

    # What dies

    def _worker_gone(self, worker: WorkerProcess, ended: Exit) -> None:
        self.host.free_row(worker.row)
        generation = self._generations[worker.generation]
        del generation.workers[worker.number]
        self.totals.update(worker.counters)
        expected = worker.was_killed or (worker.drained is not None and worker.drained.died is None)
        self.events.emit(
            "worker.ended" if expected else "worker.died",
            worker=worker.number,
            generation=worker.generation,
            pid=worker.pid,
            how=str(ended),
        )
        if generation is not self.current:
            self._forget_if_over(generation)
        elif not self._stopping:
            if not expected and worker.number not in self._draining_numbers():
                self.mender.note_crash(generation)
            generation.tell_siblings(self.serving())
            self.mender.mend()

    def _forget_if_over(self, generation: ServeGeneration) -> None:
        """Follows a generation that serves no more: paused while it is kept and has no workers, then gone."""
        if generation.workers or generation in (self.current, self.preparing):
            return
        if generation is self.kept:
            if generation.life.state is State.DRAINING:
                generation.life.move(State.PAUSED)
            return
        if generation.life.state is not State.GONE:
            generation.life.move(State.GONE)
        self._generations.pop(generation.number, None)

    def _draining_numbers(self) -> set[int]:
        return {worker.number for drain in self.drains for worker in drain.workers}

    def _worker_retires(self, worker: WorkerProcess) -> None:
        self.events.emit("worker.retires", worker=worker.number, generation=worker.generation, pid=worker.pid)
        if self.current is not None and worker.number in self.current.workers:
            self.retiring.add(worker.number)
            self.mender.mend()

    def _template_gone(self, template: TemplateProcess, ended: Exit) -> None:
        if self.kept is not None and self.kept.template is template:
            self.events.emit("template.died", generation=self.kept.number, how=str(ended), pid=template.pid)
            self.drop_kept()
        elif self.current is not None and self.current.template is template and not self._stopping:
            self.events.emit(
                "template.died", generation=self.current.number, how=str(ended), pid=template.pid
            )
            self.mender.mend()

    def workers(self) -> list[WorkerProcess]:
        """All workers that are alive, of all generations."""
        return [worker for generation in self._generations.values() for worker in generation.workers.values()]

    def reopen_log(self) -> None:
        """Everything that runs writes to the log file that the supervisor has open now."""
        fd = self.host.log_fd
        if fd is None:
            return
        for generation in self._generations.values():
            for worker in generation.workers.values():
                worker.reopen_log(fd)
            if generation.template is not None:
                generation.template.reopen_log(fd)

    def _current(self) -> ServeGeneration:
        assert self.current is not None
        return self.current
