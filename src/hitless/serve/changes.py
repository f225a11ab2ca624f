"""The changes of a service: start, reload, scale and rollback, as transactions over the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from hitless.change import Deadline, Kind, Plan, Refused, digest
from hitless.config import Loaded, diff, plain
from hitless.serve.fleet import Candidate, Fleet
from hitless.serve.logs import LogFile
from hitless.serve.settings import ServeSettings
from hitless.serve.workers import WorkerProcess

FIXED: Final = ("name", "state_dir", "control")
"""Settings that a running service cannot change: they say where it is found."""


def at_the_place_of(now: ServeSettings, settings: ServeSettings) -> ServeSettings:
    """`settings` for a service that is found where `now` says: it may have been started anew at another place since."""
    return settings.model_copy(update={key: getattr(now, key) for key in FIXED})


class Source(Protocol):
    """Where settings come from: the same code for `check`, `diff`, `serve` and `reload`."""

    def __call__(self) -> Loaded[ServeSettings]:
        """Raises Refused (invalid) with every problem on a line of its own."""


class Reload:
    """A new generation from freshly read settings, whatever differs: the code may have changed, too."""

    def __init__(self, fleet: Fleet, source: Source) -> None:
        self._fleet: Final = fleet
        self._source: Final = source
        self._wanted: ServeSettings | None = None
        self.content: str | None = None
        """Hash of the files' content that was read."""

    @property
    def kind(self) -> Kind:
        return "start" if self._fleet.current is None else "reload"

    def plan(self) -> Plan:
        loaded = self._source()
        self._wanted, self.content = loaded.settings, loaded.content_hash
        return plan_for(self._fleet, self._wanted, kind=self.kind)

    async def prepare(self, plan: Plan, deadline: Deadline) -> Candidate:
        settings = self._settings()
        LogFile.check(settings.log)
        deadline = deadline.sooner(settings.start.timeout)
        return await self._fleet.prepare(settings, plan.attempted_hash or "", deadline=deadline)

    def _settings(self) -> ServeSettings:
        assert self._wanted is not None, "a change is planned before it is prepared"
        return self._wanted

    async def commit(self, plan: Plan, prepared: Candidate) -> None:
        await self._fleet.commit(prepared)

    async def undo(self, plan: Plan, prepared: Candidate) -> None:
        self._fleet.undo(prepared)

    async def discard(self, plan: Plan, prepared: Candidate | None) -> None:
        self._fleet.discard_preparing(prepared)


class Rollback(Reload):
    """The generation before the current one once more: from its paused template, or rebuilt from its settings."""

    def __init__(self, fleet: Fleet, source: Source, before: Callable[[], ServeSettings | None]) -> None:
        super().__init__(fleet, source)
        self._before: Final = before

    def plan(self) -> Plan:
        wanted = self._fleet.kept.settings if self._fleet.kept is not None else self._before()
        if wanted is None:
            raise Refused(
                "nothing_to_roll_back_to",
                "there is nothing to roll back to: probation is over, and no other settings were applied before these",
            )
        self._wanted = wanted
        return plan_for(self._fleet, wanted, kind="rollback")

    @property
    def kind(self) -> Kind:
        return "rollback"

    async def prepare(self, plan: Plan, deadline: Deadline) -> Candidate:
        settings = self._settings()
        return await self._fleet.prepare(
            settings,
            plan.attempted_hash or "",
            deadline=deadline.sooner(settings.start.timeout),
            template_of=self._fleet.kept,
        )


class Scale:
    """More or fewer workers of the current generation, from its template: the code stays what it is."""

    def __init__(self, fleet: Fleet, workers: int) -> None:
        self._fleet: Final = fleet
        self._workers: Final = workers
        self._wanted: ServeSettings | None = None

    @property
    def kind(self) -> Kind:
        return "scale"

    def plan(self) -> Plan:
        current = self._fleet.current
        if current is None:
            raise Refused("not_serving", "no generation serves yet; try again when it has started")
        if not 1 <= self._workers <= 512:
            raise Refused(
                "workers_out_of_range", f"workers = {self._workers}: between 1 and 512", invalid=True
            )
        self._wanted = current.settings.model_copy(update={"workers": self._workers})
        return plan_for(self._fleet, self._wanted, kind="scale", to_generation=current.number)

    async def prepare(self, plan: Plan, deadline: Deadline) -> Sequence[WorkerProcess]:
        generation = self._fleet.current
        assert generation is not None
        deadline = deadline.sooner(generation.settings.start.timeout)
        missing = self._workers - len(self._fleet.serving())
        if missing <= 0:
            return []
        workers = await generation.start_workers(missing, deadline)
        try:
            await generation.probe(workers, deadline)
        except BaseException:
            _kill(workers)
            raise
        return workers

    async def commit(self, plan: Plan, prepared: Sequence[WorkerProcess]) -> None:
        assert self._wanted is not None, "a change is planned before it is prepared"
        await self._fleet.resize(prepared, self._wanted, plan.attempted_hash or "")

    async def undo(self, plan: Plan, prepared: Sequence[WorkerProcess]) -> None:
        self._fleet.shed(prepared)

    async def discard(self, plan: Plan, prepared: Sequence[WorkerProcess] | None) -> None:
        """Workers that did not become ready were ended where they were started; those that have accepted drain."""
        _kill([worker for worker in prepared or () if not worker.may_have_accepted])


AnyChange = Reload | Scale
"""Every change of a service; a rollback is a reload of what was before."""


def plan_for(fleet: Fleet, wanted: ServeSettings, *, kind: Kind, to_generation: int | None = None) -> Plan:
    """What putting `wanted` in place of the current settings would do. Pure.

    Raises:
        Refused: `wanted` contradicts itself, or changes what cannot change.
    """
    fleet.listeners.addresses(wanted.bind)
    fleet.metrics_listeners.addresses([wanted.metrics.bind] if wanted.metrics.bind else [])
    current = fleet.current
    differences = diff(current.settings, wanted) if current else ()
    fixed = [each.key for each in differences if each.key in FIXED]
    if fixed:
        raise Refused(
            "fixed_setting_changed",
            f"{', '.join(fixed)} cannot change while the service runs; put back the old value, or stop and start",
            invalid=True,
        )
    attempted = digest(plain(wanted))
    return Plan(
        kind=kind,
        from_generation=current.number if current else 0,
        to_generation=to_generation or fleet.next_number(),
        differences=differences,
        applied_hash=current.settings_hash if current else None,
        attempted_hash=attempted,
        steps=_steps(fleet, wanted, kind),
        settings=plain(wanted),
        changes_nothing=kind == "scale" and not differences,
    )


def _steps(fleet: Fleet, wanted: ServeSettings, kind: Kind) -> tuple[str, ...]:
    now = {listener.key for listener in fleet.listeners}
    then = {address.key for address in fleet.listeners.addresses(wanted.bind)}
    steps = [f"open {key}" for key in sorted(then - now)] + [f"keep {key} open" for key in sorted(then & now)]
    if kind == "scale":
        return (*steps, f"{wanted.workers} workers from the same template")
    if kind == "rollback" and fleet.kept is not None:
        steps.append(f"fork {wanted.workers} workers from the template of generation {fleet.kept.number}")
    else:
        steps += [f"import {wanted.app}", f"start {wanted.workers} workers"]
    if wanted.health.path is not None:
        steps.append(f"request {wanted.health.path} of each worker")
    if fleet.current is not None:
        steps.append(f"hand over and drain generation {fleet.current.number}")
    return (*steps, *(f"close {key}" for key in sorted(now - then)))


def _kill(workers: Sequence[WorkerProcess]) -> None:
    for worker in workers:
        worker.kill()
