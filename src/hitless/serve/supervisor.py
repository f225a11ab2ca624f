"""The supervisor: one process whose pid never changes, which never imports the application.

It owns the listening sockets, the control socket, the journal and the log, and decides. Everything that acts on the service
(signals, commands, a changed file, a crash loop) ends in one of the transactions of `hitless.serve.changes`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hitless import __version__
from hitless.change import (
    Applied,
    ChangeInProgress,
    Coalescer,
    Deadline,
    Event,
    Events,
    Journal,
    JournalUnwritable,
    Outcome,
    Refused,
    Status,
    Transactions,
)
from hitless.control import ControlError, ControlServer
from hitless.serve import faults
from hitless.serve.changes import AnyChange, Reload, Rollback, Scale, Source, brought_back
from hitless.serve.drains import KILL_AFTER_S, Drain
from hitless.serve.fleet import Fleet
from hitless.serve.generations import ServeGeneration
from hitless.serve.logs import LogFile, Logger
from hitless.serve.memory import give_back
from hitless.serve.metrics import Tally, figures
from hitless.serve.notices import Notices
from hitless.serve.reaper import become_subreaper
from hitless.serve.scrape import Scrape
from hitless.serve.settings import ServeSettings
from hitless.serve.systemd import Notifier
from hitless.serve.upgrade import FORMAT, HANDLED, Upgrade, are_quiet, replace
from hitless.serve.watching import ConfigWatch

LONGEST_CHANGE_S: Final = 86400.0
"""Outer bound of a change; `start.timeout` of the settings that it puts in place bounds it in fact."""


SETTLED_S: Final = 5.0
"""How long an upgrade waits for what is being started or told to processes at the moment of the swap."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How the service was told to end."""

    requested_by: str
    timeout_s: float


class Supervisor:
    """Runs one service until it is told to stop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: ServeSettings,
        source: Source,
        *,
        journal: Journal,
        notifier: Notifier,
        systemd_fds: int,
        config_file: Path | None,
        request: Mapping[str, Any],
    ) -> None:
        self.loop: Final = loop
        self.name: Final = settings.name
        self.source: Final = source
        self.journal: Final = journal
        self.events: Final = Events()
        self.tally: Final = Tally()
        self.logger: Final = Logger(settings.log)
        self.log_file: Final = LogFile()
        self.notifier: Final = notifier
        self.config_file: Final = config_file
        self.request: Final = request
        """How the service was asked for, as JSON-able values."""
        # Threads that may be alive when another program takes over, and would take signals with them (see Scribe).
        loop.set_default_executor(
            ThreadPoolExecutor(
                4,
                thread_name_prefix="look",
                initializer=signal.pthread_sigmask,
                initargs=(signal.SIG_BLOCK, signal.valid_signals()),
            )
        )
        self._unsubscribe: Final = self.events.subscribe(self._note)
        self.fleet: Final = Fleet(
            loop,
            self.events,
            systemd_fds=systemd_fds,
            on_crash_loop=self._roll_back_crash_loop,
            on_drain_ended=self._drain_ended,
        )
        self.notices: Final = Notices(self.events, settings.name, self.fleet.host.reaper)
        self.transactions: Final = Transactions(journal, self.events)
        self.scrape: Final = Scrape(self.figures)
        self.last_outcome: Outcome | None = None
        self._hup: Final = Coalescer(self._reload_by_signal)
        self._stop: Final[asyncio.Future[Stop]] = loop.create_future()
        self._tasks: Final[set[asyncio.Task[Any]]] = set()
        self.watch: Final = ConfigWatch(loop, config_file, on_change=self._reload_by_watch)
        self._early_drains: Final[list[Drain]] = []
        self._stopped: Final = asyncio.Event()
        self.stop_report: dict[str, Any] = {}
        self._replacement: asyncio.Future[str] = loop.create_future()
        self._is_leaving = False
        """Another program is about to go on: no change is begun any more."""
        self._left_over: Final[list[signal.Signals]] = []
        """Signals that the next program is to answer."""
        self._control: ControlServer | None = None
        self._let_go: tuple[int, int] | None = None

    async def run(self, settings: ServeSettings, control: ControlServer) -> int:
        """Starts, serves, stops. Returns the exit code of the process.

        Raises:
            Refused: the log file cannot be opened.
        """
        become_subreaper()
        self.open_log(settings)
        self.notifier.starting(settings.start.timeout)
        self._handle_signals()
        await control.start()
        try:
            outcome = await self._begin()
            if outcome is not None and outcome.status is not Status.APPLIED:
                return int(outcome.exit_code) if outcome.invalid else 1
            self._announce()
            return await self._serve(control)
        finally:
            await self._end(control)

    def _announce(self) -> None:
        """Whoever has started it sees what serves where."""
        current = self.fleet.current
        if current is not None:
            addresses = ", ".join(listener.describe() for listener in self.fleet.listeners)
            self.events.emit("service.serves", pid=os.getpid(), app=current.settings.app, addresses=addresses)

    async def resume(self, state: Mapping[str, Any], control: ControlServer) -> int:
        """Goes on where the program before this one in the same process left off (see `hitless.serve.upgrade`)."""
        self._handle_signals()
        self.log_file.thaw(state["log"])
        self.fleet.host.log_fd = self.log_file.fd
        self.fleet.thaw(state["fleet"])
        self.tally.thaw(state["tally"])
        current = self.fleet.current
        assert current is not None
        self.transactions.resume(current.number)
        if state["last_outcome"] is not None:
            self.last_outcome = Outcome.from_json(state["last_outcome"])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        for number in state["left_over"]:
            os.kill(os.getpid(), number)
        try:
            await control.start()
        except ControlError as error:  # no reason to end a service that serves
            self.events.emit("control.lost", why=error.message)
        try:
            await self._settings_changed(current.settings, content=state["watched"])
            self.events.emit(
                "service.resumed", pid=os.getpid(), version=__version__, generation=current.number
            )
            self.notifier.ready(f"generation {current.number} serves")
            return await self._serve(control)
        finally:
            await self._end(control)

    async def _serve(self, control: ControlServer) -> int:
        """Until told to stop, or replaced by another program: then this does not return."""
        self._control = control
        self._keep_alive()
        give_back()
        while not self._stop.done():
            awaited: set[asyncio.Future[Any]] = {self._stop, self._replacement}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if self._replacement.done():
                await self._replace(self._replacement.result(), control)
        await self._drain_all(await self._stop)
        return 0

    async def _replace(self, python: str, control: ControlServer) -> None:
        """Returns only if this program goes on: it is told to stop meanwhile, or no other can be executed."""
        finishing = self.loop.create_task(control.finish())
        ended: set[asyncio.Future[Any]] = {finishing, self._stop}
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        finishing.cancel()  # no-op unless told to stop: who asked for that waits for its end
        await self.transactions.flush()
        await self.notices.close()
        patience = Deadline.after(SETTLED_S)
        while not (patience.expired or self._stop.done()) and not (  # noqa: ASYNC110 - many processes, one moment
            self.fleet.is_settled and are_quiet(self.freeze())
        ):
            await asyncio.sleep(SETTLED_S / 500)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            for _ in range(8):  # what has arrived so far comes through the loop, and is answered or left over
                await asyncio.sleep(0)
            if not self._stop.done():
                self._execute(python)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if self._let_go is not None:
            await control.take_back(self._let_go)
        self._let_go, self._is_leaving, self._replacement = None, False, self.loop.create_future()
        if self.fleet.current is not None and not self._stop.done():
            self.notices.follow(self.fleet.current.settings.notify)
        while self._left_over:
            os.kill(os.getpid(), self._left_over.pop())

    def _execute(self, python: str) -> None:
        """What was rehearsed a moment ago may not be had now: then the same program goes on in its place."""
        for program in (python, sys.executable):
            try:
                replace(program, self.freeze())
            except OSError as error:
                self.events.emit("upgrade.failed", python=program, why=str(error))

    async def upgrade(self, python: str, *, requested_by: str) -> Outcome:
        """Lets another program take over this process, if it can. The swap follows the outcome; whoever connects
        after it was told is answered by the new program.

        Raises:
            ChangeInProgress: a change is being made.
        """
        change = Upgrade(self.fleet, self.freeze, python, on_commit=self._leave)
        try:
            outcome = await self.change(change, requested_by=requested_by)
        except BaseException:
            self._is_leaving = False
            raise
        if outcome.status is Status.APPLIED and self._control is not None and not self._stop.done():
            self._let_go = self._control.let_go()
            self._replacement.set_result(python)
        else:
            self._is_leaving = False
        return outcome

    def _leave(self) -> None:
        self._is_leaving = True

    @property
    def busy(self) -> str | None:
        """What is going on that no change can be begun beside, for people; None if one can."""
        return "a stop" if self._stop.done() else "an upgrade" if self._is_leaving else self.transactions.busy

    async def figures(self) -> dict[str, Any]:
        """See `hitless.serve.metrics`."""
        return await figures(self.name, self.fleet, self.tally)

    def freeze(self) -> dict[str, Any]:
        """All that another program must know to go on from here."""
        return {
            "format": FORMAT,
            "version": __version__,
            "request": self.request,
            "journal": str(self.journal.path),
            "began": self.tally.began,
            "log": self.log_file.freeze(),
            "fleet": self.fleet.freeze(),
            "tally": self.tally.freeze(),
            "last_outcome": None if self.last_outcome is None else self.last_outcome.to_json(),
            "watched": self.watch.content,
            "left_over": [int(number) for number in self._left_over],
            "control": self._let_go,
        }

    async def _begin(self) -> Outcome | None:
        """The first generation; None if the service is told to stop before it serves."""
        if self._stop.done():
            return None
        starting = self.loop.create_task(self.change(Reload(self.fleet, self.source), requested_by="start"))
        awaited: set[asyncio.Future[Any]] = {starting, self._stop}
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            self.transactions.give_up()
        outcome = await starting
        return None if self._stop.done() else outcome

    # Changes

    async def change(
        self, change: AnyChange | Upgrade, *, requested_by: str, timeout_s: float | None = None
    ) -> Outcome:
        """Makes one change and records it.

        Raises:
            ChangeInProgress: another one is being made.
        """
        if self.busy is not None:
            raise ChangeInProgress(self.busy)
        if isinstance(change, Reload):
            await change.look()
            if self.busy is not None:
                raise ChangeInProgress(self.busy)
        faults.reach("change.requested")
        run: Any = self.transactions.run  # each change has a prepared type of its own
        outcome: Outcome = await run(
            change, requested_by=requested_by, deadline_s=timeout_s or LONGEST_CHANGE_S
        )
        faults.reach("change.recorded")
        self.last_outcome = outcome
        if isinstance(change, Reload):
            self.watch.tried(change.content, is_good=outcome.is_good)
        current = self.fleet.current
        if outcome.status is Status.APPLIED and current is not None:
            for drain in [*self.fleet.drains, *self._early_drains]:
                if drain.change is None:
                    drain.change = outcome.change
            content = change.content if isinstance(change, Reload) else None
            await self._settings_changed(current.settings, content=content)
        while self._early_drains:
            self._record_drain(self._early_drains.pop())
        if current is not None:  # a start that was refused is no readiness
            self.notifier.ready(outcome.message)
        return outcome

    def rollback(self, *, restart: bool = False) -> Rollback:
        return Rollback(self.fleet, self.source, self._settings_before, restart=restart)

    def _settings_before(self) -> ServeSettings | None:
        """The settings that were applied before the ones that are now, from the journal.

        Raises:
            Refused: the journal cannot be read, or an older hitless wrote what this one does not understand.
        """
        now = self.fleet.current
        if now is None:
            return None

        def settings_of(applied: Applied) -> ServeSettings:
            return brought_back(now.settings, ServeSettings.model_validate(applied.settings))

        try:
            applied = self.journal.applied_before(lambda one: settings_of(one) != now.settings)
            return None if applied is None else settings_of(applied)
        except (JournalUnwritable, ValueError) as error:
            raise Refused(
                "journal_unreadable", f"the settings before these cannot be had: {error}"
            ) from error

    def request_stop(self, stop: Stop) -> None:
        """Stops; asked again with less patience (INT after TERM), a stop that goes on already is shortened."""
        if not self._stop.done():
            self.events.emit("service.stopping", requested_by=stop.requested_by, timeout_s=stop.timeout_s)
            self._stop.set_result(stop)
        elif self.fleet.shorten(stop.timeout_s):
            self.events.emit("service.hurrying", requested_by=stop.requested_by, timeout_s=stop.timeout_s)

    async def stopped(self) -> None:
        """Returns when everything has drained; bounded by the drains' own deadlines."""
        await self._stopped.wait()

    async def _reload_by_signal(self) -> None:
        await self.transactions.idle()
        if self._is_leaving:
            self._left_over.append(signal.SIGHUP)
        elif not self._stop.done():
            await self._renew_control()
            await self.transactions.idle()
            await self.change(Reload(self.fleet, self.source), requested_by="SIGHUP")

    async def _reload_by_watch(self, content: str) -> bool:
        await self.transactions.idle()
        if self.busy is not None or content != self.watch.look():
            return True
        self.events.emit("watch.changed", file=str(self.config_file), content=content[:12])
        return (await self.change(Reload(self.fleet, self.source), requested_by="watch")).is_good

    async def _scale_by_signal(self, step: int) -> None:
        await self.transactions.idle()
        current = self.fleet.current
        if self._is_leaving:
            self._left_over.append(signal.SIGTTIN if step > 0 else signal.SIGTTOU)
        elif current is not None and not self._stop.done():
            workers = max(1, current.settings.workers + step)
            await self.change(Scale(self.fleet, workers), requested_by="SIGTTIN" if step > 0 else "SIGTTOU")

    def _roll_back_crash_loop(self, crashing: ServeGeneration) -> None:
        self.spawn(self._roll_back(crashing))

    async def _roll_back(self, crashing: ServeGeneration) -> None:
        """The current generation is on probation and its workers keep dying: the one before it comes back."""
        await self.transactions.idle()
        # Asked for once per death; by now another change may have put another generation in its place.
        if self.fleet.current is crashing and self.fleet.kept is not None and not self._stop.done():
            self.events.emit("generation.crashes", generation=crashing.number)
            change = self.rollback(restart=True)  # of the processes: they are what dies
            outcome = await self.change(change, requested_by="probation: workers keep dying")
            if outcome.is_good:
                self.fleet.drop_kept()  # nobody shall come back to that one in an instant

    # Wiring

    def spawn(self, work: Awaitable[Any]) -> None:
        """Runs `work` beside everything else; a reference is kept, so that it is not collected half-way."""
        task = asyncio.ensure_future(self._contained(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _contained(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except (ChangeInProgress, Refused) as error:
            self.events.emit("signal.refused", why=str(error))

    def _handle_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGHUP: self._hup.request,
            signal.SIGTERM: lambda: self.request_stop(Stop("SIGTERM", self._drain_timeout())),
            signal.SIGINT: lambda: self.request_stop(Stop("SIGINT", 0.0)),
            signal.SIGQUIT: lambda: self.request_stop(Stop("SIGQUIT", 0.0)),
            signal.SIGTTIN: lambda: self.spawn(self._scale_by_signal(1)),
            signal.SIGTTOU: lambda: self.spawn(self._scale_by_signal(-1)),
            signal.SIGUSR1: self.reopen_log,
        }
        for number, handler in handlers.items():
            self.loop.add_signal_handler(number, handler)

    def _drain_timeout(self) -> float:
        return self.fleet.current.settings.drain.timeout if self.fleet.current else 0.0

    def _note(self, event: Event) -> None:
        self.logger.event(event)
        self.tally.note(event)
        faults.reach(event.name)
        if event.name == "change.started" and event.fields.get("kind") == "reload":
            self.notifier.reloading()

    async def _settings_changed(self, settings: ServeSettings, *, content: str | None) -> None:
        """`content`: hash of the files that the settings were read from, if they were."""
        self.logger.configure(settings.log)
        try:
            self.open_log(settings)
        except Refused as error:
            self.events.emit("settings.refused", why=str(error))
        await self.scrape.listen(next((listener.sock for listener in self.fleet.metrics_listeners), None))
        self.watch.follow(settings.reload, content)
        self.notices.follow(settings.notify)

    def open_log(self, settings: ServeSettings) -> None:
        self.log_file.open(settings.log)
        self.fleet.host.log_fd = self.log_file.fd
        self.fleet.reopen_log()

    async def _renew_control(self) -> None:
        """Somebody may have removed the control socket: a signal is the way to have it back."""
        if self._control is None:
            return
        try:
            if await self._control.renew():
                self.events.emit("control.renewed", path=str(self._control.path))
        except (ControlError, OSError) as error:
            self.events.emit("control.lost", why=str(error))

    def reopen_log(self) -> None:
        self.spawn(self._renew_control())
        current = self.fleet.current
        try:
            if current is not None:
                self.open_log(current.settings)
        except Refused as error:
            self.events.emit("signal.refused", why=str(error))
        else:
            self.events.emit("log.reopened")

    def _keep_alive(self) -> None:
        if self.notifier.watchdog_s is not None:
            self.notifier.alive()
            self.loop.call_later(self.notifier.watchdog_s, self._keep_alive)

    def _drain_ended(self, drain: Drain) -> None:
        if drain.change is None and self.transactions.busy is not None:
            self._early_drains.append(drain)  # over before the change that it belongs to is recorded
            return
        self._record_drain(drain)

    def _record_drain(self, drain: Drain) -> None:
        report = drain.report
        if report is not None and not self._stop.done():
            self.spawn(
                self.transactions.drained(
                    drain.change,
                    finished=report.workers,
                    handed_over=report.handed_over,
                    cut=report.cut,
                    seconds=report.seconds,
                )
            )

    async def _drain_all(self, stop: Stop) -> None:
        self.notifier.stopping(stop.timeout_s + KILL_AFTER_S)
        await self._hup.close()
        self.watch.close()
        self.transactions.give_up()
        await (
            self.transactions.idle()
        )  # a commit is seen through: what it has accepted is drained with the rest
        deadline = Deadline.after(stop.timeout_s + 2 * KILL_AFTER_S)
        drains = self.fleet.stop(stop.timeout_s)
        reports = await deadline.wait(
            asyncio.gather(*(drain.ended() for drain in drains)), "the workers did not end"
        )
        self.stop_report = {
            "cut": sum(report.cut for report in reports),
            "killed": sum(report.killed for report in reports),
            "seconds": max((report.seconds for report in reports), default=0.0),
        }

    async def _end(self, control: ControlServer) -> None:
        self.fleet.discard_preparing(None)
        await self.scrape.listen(None)
        for task in list(self._tasks):
            task.cancel()
        self._stopped.set()
        self.events.emit("service.stopped", pid=os.getpid(), **self.stop_report)
        await control.close()
        await self.notices.close()
        self.transactions.close()
