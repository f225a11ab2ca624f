"""One generation of a service: a template, the workers forked from it, and the settings that they run on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from hitless.change import Deadline, Events, Generation, Refused, State
from hitless.config import plain
from hitless.serve import channel, faults, health
from hitless.serve.binding import Listener
from hitless.serve.live_state import LiveState
from hitless.serve.reaper import Exit, Reaper
from hitless.serve.scoreboard import ROWS, Scoreboard
from hitless.serve.settings import ServeSettings
from hitless.serve.templates import Launch, TemplateProcess
from hitless.serve.worker_config import basis, worker_config
from hitless.serve.workers import WorkerProcess, WorkerState

SERVING_S: Final = 10.0
"""Longest time between telling a ready worker to accept and its answer."""

IMPORTS_AT_ONCE: Final = 2
"""How many workers import at the same time where the application cannot be forked."""


@dataclass(eq=False)
class Host:
    """What all generations of one supervisor share."""

    loop: asyncio.AbstractEventLoop
    reaper: Reaper
    events: Events
    board: Scoreboard
    on_worker_gone: Callable[[WorkerProcess, Exit], None]
    on_worker_retire: Callable[[WorkerProcess], None]
    on_template_gone: Callable[[TemplateProcess, Exit], None]
    log_fd: int | None = None
    numbers: count[int] = field(default_factory=lambda: count(1))
    rows: set[int] = field(default_factory=set)

    def take_row(self) -> int:
        row = next((row for row in range(ROWS) if row not in self.rows), None)
        if row is None:
            raise Refused(
                "too_many_workers", f"{ROWS} workers of all generations are alive; wait for drains to end"
            )
        self.rows.add(row)
        self.board.clear(row)
        return row

    def free_row(self, row: int) -> None:
        self.board.clear(row)
        self.rows.discard(row)


class ServeGeneration:
    """Built by `prepare`, or not at all: what fails there leaves nothing behind after `discard`."""

    def __init__(
        self,
        host: Host,
        number: int,
        settings: ServeSettings,
        settings_hash: str,
        *,
        state: State = State.PREPARING,
    ) -> None:
        self._host: Final = host
        self.life: Final = Generation(number, state=state)
        self.settings = settings
        self.settings_hash = settings_hash
        self.template: TemplateProcess | None = None
        self.interface = ""
        self.import_s = 0.0
        self.forks = settings.fork == "auto"
        self.workers: dict[int, WorkerProcess] = {}
        self.crashes = 0
        self.live: LiveState | None = None
        """Settings of the application's runtime that are in force in all workers; None if there is none in each of them."""
        self.live_before: LiveState | None = None
        """Those before the last change inside the processes."""
        self.basis = ""
        """Digest of all that is given to its processes: another one needs other processes."""
        self._lender: ServeGeneration | None = None
        self._asks_for_room = False

    @property
    def number(self) -> int:
        return self.life.number

    def undrained(self) -> list[WorkerProcess]:
        """Workers that nobody has told to drain yet."""
        return [worker for worker in self.workers.values() if worker.state is not WorkerState.DRAINING]

    # Passing it on to the supervisor that replaces this one

    def freeze(self) -> dict[str, Any]:
        workers = (worker.freeze() for worker in self.workers.values())
        return {
            "number": self.number,
            "state": self.life.state.value,
            "settings": plain(self.settings),
            "settings_hash": self.settings_hash,
            "interface": self.interface,
            "import_s": self.import_s,
            "forks": self.forks,
            "crashes": self.crashes,
            "live": None if self.live is None else self.live.freeze(),
            "live_before": None if self.live_before is None else self.live_before.freeze(),
            "basis": self.basis,
            "template": None if self.template is None else self.template.freeze(),
            "workers": [worker for worker in workers if worker is not None],
        }

    @classmethod
    def thaw(cls, host: Host, frozen: Mapping[str, Any]) -> ServeGeneration:
        """Raises ValueError: the settings are not valid for this version of Hitless."""
        settings = ServeSettings.model_validate(frozen["settings"])
        generation = cls(
            host, frozen["number"], settings, frozen["settings_hash"], state=State(frozen["state"])
        )
        generation.interface, generation.import_s = frozen["interface"], frozen["import_s"]
        generation.forks, generation.crashes = frozen["forks"], frozen["crashes"]
        generation.live, generation.live_before = (
            LiveState.thaw(frozen["live"]),
            LiveState.thaw(frozen["live_before"]),
        )
        generation.basis = frozen["basis"]
        if frozen["template"] is not None:
            generation.template = TemplateProcess(host.loop, host.reaper, on_exit=host.on_template_gone)
            generation.template.thaw(frozen["template"])
        for each in frozen["workers"]:
            host.rows.add(each["row"])
            worker = generation.workers[each["number"]] = generation._worker(each["number"], each["row"])
            worker.thaw(each)
        return generation

    # Building

    def borrow_template(self, lender: ServeGeneration) -> None:
        """Is forked from the template of an earlier generation, which gets it back if nothing comes of this one."""
        self._lender = lender
        self.template, lender.template = lender.template, None
        self.interface, self.forks, self.import_s = lender.interface, lender.forks, lender.import_s
        self.live, self.basis = lender.live, lender.basis

    async def prepare(
        self, deadline: Deadline, make_room: Callable[[], Awaitable[None]] | None = None
    ) -> list[WorkerProcess]:
        """Imports the application and starts all workers; they are ready, and serve nobody yet. `make_room` is awaited when
        they have come so far that their settings are taken, and before they open what only one can have.

        Raises:
            Refused, DeadlinePassed: why not.
        """
        if self.template is None or not self.template.is_alive:
            await self.build_template(deadline)
        faults.reach("template.loaded")
        workers = await self.start_workers(self.settings.workers, deadline, make_room)
        faults.reach("workers.ready")
        await self.probe(workers, deadline)
        faults.reach("workers.probed")
        for worker in workers:
            if worker.serving.done():
                worker.serving.result()  # it has died since it was ready
        return workers

    async def build_template(self, deadline: Deadline) -> None:
        """Raises Refused, DeadlinePassed."""
        template = TemplateProcess(self._host.loop, self._host.reaper, on_exit=self._host.on_template_gone)
        launch = Launch.of(self.settings)
        config = worker_config(self.settings, self.number, launch.directory)
        self.basis = self.basis or basis(self.settings)  # as it was when its first workers were started
        await template.start(
            launch,
            config,
            log_fd=self._host.log_fd,
            deadline=deadline,
        )
        if self._host.log_fd is not None:
            template.reopen_log(self._host.log_fd)  # it may have been re-opened during the import
        if self.template is not None:
            self.template.kill()
        self.template = template
        self.interface = template.interface
        self.import_s = template.import_s
        if self.forks and not template.can_fork:
            self.forks = False
            self._host.events.emit(
                "template.unforkable", generation=self.number, threads=", ".join(template.threads)[:300]
            )

    async def start_workers(
        self, number: int, deadline: Deadline, make_room: Callable[[], Awaitable[None]] | None = None
    ) -> list[WorkerProcess]:
        """`number` more workers, all of them ready; on failure none of them is left.

        Raises:
            Refused, DeadlinePassed.
        """
        started: list[WorkerProcess] = []
        self._asks_for_room = make_room is not None
        try:
            if self.forks:
                for _ in range(number):
                    await self._fork(started, deadline)
            else:
                await self._import_each(number, started, deadline)
            if make_room is not None:
                await self._admit(started, make_room, deadline)
            await _all(deadline.wait(worker.ready, self._not_ready(worker)) for worker in started)
            self._note_live(started)
        except BaseException:
            for worker in started:
                worker.kill()
            raise
        return started

    async def _admit(
        self, started: Sequence[WorkerProcess], make_room: Callable[[], Awaitable[None]], deadline: Deadline
    ) -> None:
        """Raises Refused, DeadlinePassed: if one of them cannot start anyway, no room is made."""
        await _all(deadline.wait(worker.came_so_far(), self._not_ready(worker)) for worker in started)
        self._asks_for_room = False
        await make_room()
        for worker in started:
            worker.admit()

    def _not_ready(self, worker: WorkerProcess) -> str:
        if self.settings.interface != "program":
            return f"worker {worker.number} was not ready"
        return "the program neither started its runtime nor called hitless.live.ready()"

    def _note_live(self, started: Sequence[WorkerProcess]) -> None:
        """What the first workers' runtimes have started with is what later ones start with.

        Raises:
            Refused: they have not all started with the same.
        """
        states = [worker.take_state() for worker in started]
        if self.live is None and states:
            if len({None if state is None else state.hash for state in states}) > 1:
                raise Refused(
                    "settings_differ",
                    "the workers have started with different settings; were the files written meanwhile? try again",
                )
            self.live = states[0]

    async def probe(self, workers: Sequence[WorkerProcess], deadline: Deadline) -> None:
        if self.settings.health.path is not None:
            scheme = "https" if self.settings.tls.certificate else "http"
            await _all(
                health.probe(worker, self.settings.health, scheme=scheme, deadline=deadline)
                for worker in workers
            )

    async def _fork(self, started: list[WorkerProcess], deadline: Deadline) -> None:
        template = self.template
        if template is None or not template.is_alive:
            await self.build_template(deadline)
            template = self.template
        assert template is not None
        worker, end = self._new_worker(started)
        worker.started(await template.fork(worker.number, end, self._worker_fields(worker), deadline))
        faults.reach("worker.forked")

    async def _import_each(self, number: int, started: list[WorkerProcess], deadline: Deadline) -> None:
        """Where forking is unsafe, every worker is a template of its own that becomes the worker."""
        gate = asyncio.Semaphore(IMPORTS_AT_ONCE)

        async def one() -> None:
            async with gate:
                template, self.template = self.template, None
                if template is None or not template.is_alive:
                    await self.build_template(deadline)
                    template, self.template = self.template, None
                assert template is not None
                worker, end = self._new_worker(started)
                worker.started(template.become(end, self._worker_fields(worker)))

        await _all(one() for _ in range(number))

    def _new_worker(self, started: list[WorkerProcess]) -> tuple[WorkerProcess, Any]:
        ours, theirs = channel.pair()
        worker = self._worker(next(self._host.numbers), self._host.take_row())
        worker.connect(ours)
        if self.live is not None:
            worker.inherit(self.live)
        self.workers[worker.number] = worker
        started.append(worker)
        return worker, theirs

    def _worker(self, number: int, row: int) -> WorkerProcess:
        return WorkerProcess(
            loop=self._host.loop,
            reaper=self._host.reaper,
            number=number,
            generation=self.number,
            row=row,
            on_retire=self._host.on_worker_retire,
            on_gone=self._host.on_worker_gone,
            on_exhausted=self._exhausted,
        )

    def _worker_fields(self, worker: WorkerProcess) -> dict[str, Any]:
        return {
            "worker": worker.number,
            "generation": self.number,
            "inherits": self.live is not None,
            "asks_for_room": self._asks_for_room,
        }

    def _exhausted(self, worker: WorkerProcess, error: str) -> None:
        self._host.events.emit("worker.exhausted", worker=worker.number, generation=self.number, error=error)

    # Serving

    async def serve(self, workers: Sequence[WorkerProcess], listeners: Iterable[Listener]) -> None:
        """Lets ready workers accept. Returns when all do.

        Raises:
            Refused, DeadlinePassed: one died, or did not answer.
        """
        listeners = list(listeners)
        tls = self.settings.tls.certificate is not None
        for worker in workers:
            worker.serve(
                [*(listener.sock.fileno() for listener in listeners), self._host.board.fd],
                siblings=[],
                listeners=[
                    {
                        "key": listener.key,
                        "scheme": "https" if tls and listener.address.kind != "unix" else "http",
                        "server": list(listener.server),
                    }
                    for listener in listeners
                ],
            )
        deadline = Deadline.after(SERVING_S)
        await _all(
            deadline.wait(worker.serving, f"worker {worker.number} did not accept") for worker in workers
        )

    def tell_siblings(self, workers: Sequence[WorkerProcess]) -> None:
        """Workers share connections among those they know."""
        rows = [worker.row for worker in workers]
        for worker in workers:
            worker.tell_siblings(rows)

    # Ending

    def discard(self) -> None:
        """Ends everything of this generation at once: it has served nobody."""
        self.return_template()
        for worker in list(self.workers.values()):
            worker.kill()

    def return_template(self) -> None:
        """Nothing comes of this generation: a borrowed template goes back, its own one ends."""
        if self._lender is not None and self.template is not None and self.template.is_alive:
            self._lender.template, self.template = self.template, None
        self.drop_template()

    def drop_template(self) -> None:
        if self.template is not None:
            self.template.kill()
            self.template = None


async def _all(awaitables: Iterable[Any]) -> None:
    """Waits for all; the first failure cancels the others and is raised as it is."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
