"""The changes of a service: start, reload, scale and rollback, as transactions over the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from hitless.change import Deadline, Kind, Plan, Refused, digest
from hitless.change.ending import to_refusal
from hitless.config import Loaded, diff, plain
from hitless.serve.drains import KILL_AFTER_S
from hitless.serve.fleet import Candidate, Fleet
from hitless.serve.generations import ServeGeneration
from hitless.serve.in_place import InPlace, Verdict, accepting, look, look_beside
from hitless.serve.live_state import LiveState
from hitless.serve.logs import LogFile
from hitless.serve.settings import ServeSettings
from hitless.serve.worker_config import basis
from hitless.serve.workers import WorkerProcess

DOUBT: Final = "the settings are refused by the code that runs, and must be taken by the new"
FIXED: Final = ("name", "state_dir", "control")
"""Settings that a running service cannot change: they say where it is found."""
NOT_ROLLED_BACK: Final = (*FIXED, "notify")
"""Who is told of a change is told of its rollback too. These hold secrets, and are not in the journal."""


def brought_back(now: ServeSettings, settings: ServeSettings) -> ServeSettings:
    """`settings` from before for a service that is as `now` says: it may have been started anew at another place since."""
    return settings.model_copy(update={key: getattr(now, key) for key in NOT_ROLLED_BACK})


class Source(Protocol):
    """Where settings come from: the same code for `check`, `diff`, `serve` and `reload`."""

    def __call__(self) -> Loaded[ServeSettings]:
        """Raises Refused (invalid) with every problem on a line of its own."""


class Reload:
    """A new generation from freshly read settings, whatever differs: the code may have changed, too. Unless the workers have
    a runtime (`hitless.live`) and all that differs are settings of it that are live: then the change is made inside them.
    """

    def __init__(self, fleet: Fleet, source: Source, *, restart: bool = False) -> None:
        self._fleet: Final = fleet
        self._source: Final = source
        self._must_restart: Final = restart
        self._loaded: Loaded[ServeSettings] | None = None
        self._verdict: Verdict | None = None
        self._refused: Refused | None = None
        self._in_place: InPlace | None = None
        self._wanted: ServeSettings | None = None
        self.content: str | None = None
        """Hash of the files' content that was read."""

    @property
    def kind(self) -> Kind:
        return "start" if self._fleet.current is None else "reload"

    async def look(self) -> None:
        """Ask the workers whether the change can be made inside them. Before `plan`, which cannot wait; nothing moves."""
        generation = self._fleet.current
        if generation is None or generation.live is None:
            return
        try:
            self._verdict = await self._look(generation, generation.live)
        except (Refused, OSError, ValueError) as error:
            self._refused = to_refusal(error)  # by the plan, so that it is recorded

    async def _look(self, generation: ServeGeneration, live: LiveState) -> Verdict:
        """Raises Refused."""
        self._loaded = self._source()
        wanted = self._loaded.settings
        if self._must_restart:
            why = "it was asked for"
        elif changed := diff(generation.settings, wanted):
            why = f"{', '.join(each.key for each in changed)} changed"
        elif basis(wanted) != generation.basis:
            why = "a file that its processes are given has changed"
        else:
            return await look(generation, live)
        return await look_beside(generation, live, why)

    @property
    def doubt(self) -> Refused | None:
        """Why settings of the runtime might be refused when there are new processes, as far as the old ones can tell."""
        refused = self._verdict.refused if self._verdict is not None else ""
        return Refused("configuration_invalid", f"{DOUBT}: {refused}", invalid=True) if refused else None

    def plan(self) -> Plan:
        if self._refused is not None:
            raise self._refused
        loaded = self._loaded or self._source()
        self._wanted, self.content = loaded.settings, loaded.content_hash
        return self._judged(plan_for(self._fleet, self._wanted, kind=self.kind))

    def _judged(self, plan: Plan) -> Plan:
        """`plan` for new processes, or the one for a change inside them, if that is the verdict."""
        verdict, current = self._verdict, self._fleet.current
        if verdict is None or current is None:
            return plan
        differences = (*plan.differences, *verdict.differences)
        if verdict.state is None:
            doubt = [f"{DOUBT}: {verdict.refused}"] if verdict.refused else []
            steps = (*doubt, *plan.steps)
            return replace(plan, how="new generation", why=verdict.why, differences=differences, steps=steps)
        return replace(
            plan,
            to_generation=current.number,
            differences=differences,
            attempted_hash=digest([plan.attempted_hash, verdict.state.hash]),
            how="live",
            why=verdict.why,
            steps=(f"inside {len(accepting(current))} workers at the same time:", *verdict.steps),
        )

    async def prepare(self, plan: Plan, deadline: Deadline) -> Candidate | None:
        settings = self._settings()
        LogFile.check(settings.log)
        room_s = settings.drain.timeout + KILL_AFTER_S if self._fleet.makes_room(settings) else 0.0
        deadline = deadline.sooner(settings.start.timeout + room_s)
        if self._verdict is not None and self._verdict.state is not None:
            self._in_place = InPlace(self._fleet, self._verdict.state, plan.attempted_hash or "")
            await self._in_place.prepare(deadline)
            return None
        return await self._fleet.prepare(
            settings, plan.attempted_hash or "", deadline=deadline, template_of=self._lender()
        )

    def _lender(self) -> ServeGeneration | None:
        """The generation whose template is forked again."""
        return None

    def _settings(self) -> ServeSettings:
        assert self._wanted is not None, "a change is planned before it is prepared"
        return self._wanted

    async def commit(self, plan: Plan, prepared: Candidate | None) -> None:
        if self._in_place is not None:
            await self._in_place.commit()
        elif prepared is not None:
            await self._fleet.commit(prepared)

    async def undo(self, plan: Plan, prepared: Candidate | None) -> None:
        if self._in_place is not None:
            await self._in_place.undo()
        elif prepared is not None:
            self._fleet.undo(prepared)

    async def discard(self, plan: Plan, prepared: Candidate | None) -> None:
        if self._in_place is not None:
            await self._in_place.discard()
        else:
            self._fleet.discard_preparing(prepared)


class Rollback(Reload):
    """The state before the last change: the settings of the runtime, if they were changed last; or the generation before the
    current one once more, from its paused template, or rebuilt from its settings.
    """

    def __init__(
        self,
        fleet: Fleet,
        source: Source,
        before: Callable[[], ServeSettings | None],
        *,
        restart: bool = False,
    ) -> None:
        super().__init__(fleet, source, restart=restart)
        self._before: Final = before

    async def _look(self, generation: ServeGeneration, live: LiveState) -> Verdict:
        before = generation.live_before
        if before is None or self._must_restart:
            return await self._look_back(generation, live)
        verdict = await look(generation, live, wanted=before)
        if verdict.state is None:
            raise Refused(
                "settings_differ",
                f"the settings before these cannot be put back inside the processes now: {verdict.why}; try again",
            )
        return replace(verdict, why="the last change was made in place")

    async def _look_back(self, generation: ServeGeneration, live: LiveState) -> Verdict:
        """The processes come back with the settings that they had last, or take those of the sources if they are gone."""
        kept = self._fleet.kept
        why, wanted = "the last change was one of processes", None if kept is None else kept.live
        verdict = await look_beside(generation, live, why, wanted=wanted)
        return verdict if wanted is None else replace(verdict, refused="")  # what they have had they take

    def plan(self) -> Plan:
        if self._refused is not None:
            raise self._refused
        wanted = self._goal()
        if wanted is None:
            raise Refused(
                "nothing_to_roll_back_to",
                "there is nothing to roll back to: probation is over, and no other settings were applied before these",
            )
        current = self._fleet.current
        self._wanted = wanted if current is None else brought_back(current.settings, wanted)
        return self._judged(plan_for(self._fleet, self._wanted, kind="rollback"))

    def _goal(self) -> ServeSettings | None:
        current = self._fleet.current
        if current is not None and self._verdict is not None and self._verdict.state is not None:
            return current.settings
        return self._fleet.kept.settings if self._fleet.kept is not None else self._before()

    @property
    def kind(self) -> Kind:
        return "rollback"

    def _lender(self) -> ServeGeneration | None:
        return self._fleet.kept


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
    fleet.listeners.addresses(wanted.addresses)
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
    data = plain(wanted)
    return Plan(
        kind=kind,
        from_generation=current.number if current else 0,
        to_generation=to_generation or fleet.next_number(),
        differences=differences,
        applied_hash=current.settings_hash if current else None,
        attempted_hash=digest(data),
        steps=_steps(fleet, wanted, kind),
        settings={key: value for key, value in data.items() if key != "notify"},
        changes_nothing=kind == "scale" and not differences,
    )


def _steps(fleet: Fleet, wanted: ServeSettings, kind: Kind) -> tuple[str, ...]:
    now = {listener.key for listener in fleet.listeners}
    then = {address.key for address in fleet.listeners.addresses(wanted.addresses)}
    steps = [f"open {key}" for key in sorted(then - now)] + [f"keep {key} open" for key in sorted(then & now)]
    if kind == "scale":
        return (*steps, f"{wanted.workers} workers from the same template")
    if kind == "rollback" and fleet.kept is not None:
        steps.append(f"fork {wanted.workers} workers from the template of generation {fleet.kept.number}")
    else:
        steps.append(f"import {wanted.app}")
        if fleet.current is not None and fleet.current.live is not None and fleet.makes_room(wanted):
            exclusive = ", ".join(fleet.current.live.exclusive)
            steps.append(f"stop generation {fleet.current.number} first: only one can have {exclusive}")
        steps.append(f"start {wanted.workers} workers")
    if wanted.health.path is not None:
        steps.append(f"request {wanted.health.path} of each worker")
    if fleet.current is not None:
        steps.append(f"hand over and drain generation {fleet.current.number}")
    return (*steps, *(f"close {key}" for key in sorted(now - then)))


def _kill(workers: Sequence[WorkerProcess]) -> None:
    for worker in workers:
        worker.kill()
