"""One container replaced by another of the same name: a change in the sense of `hitless.change`.

    create NAME.hitless-new ─► stop the old ─► swap the names ─► start ─► healthy? ─► admit ─► remove the old
                                                                            └─ no: remove the new, bring back the old
    new first:  create ─► start ─► healthy? ─► admit ─► drain and stop the old ─► swap the names ─► remove the old

1. The old one exists, stopped at worst, until the new one is healthy; its restart policy stays aside until then, so
   that no engine starts both.
2. Before each step it is written down what is under way (`Intents`); after a crash `undo` or `finish` leads to exactly
   one container of the name. Both look at what is there and may be run again and again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from hitless.change import Deadline, Events, Status
from hitless.containers.aftermath import ADMIT_S, finish, is_ending, readiness, undo
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import NEW, OLD, Container, RestartPolicy
from hitless.containers.drain import admitted
from hitless.containers.engine import Engine
from hitless.containers.errors import (
    ContainersError,
    EngineError,
    EngineRefused,
    NoSuchContainer,
    NoSuchImage,
)
from hitless.containers.fixed import addresses_of, fixed_addresses, label_of
from hitless.containers.health import NotHealthy, healthy, started
from hitless.containers.hub import Hub
from hitless.containers.intents import Intents
from hitless.containers.outcome import StopOutcome
from hitless.containers.overlap import CannotOverlap, Overlap, overlap
from hitless.containers.parameters import Parameters
from hitless.containers.spec import Spec, complete, creation, labelled
from hitless.containers.ties import Tied, check_ties

UNBEGUN: Final[Mapping[type[ContainersError], str]] = {
    NoSuchImage: "image_missing",
    CannotOverlap: "conflict",
    Tied: "tied",
}
"""Why nothing is begun."""
RELEASE_S: Final = 30.0
LOOK_S: Final = 0.1

Stopping = Callable[[Container], Awaitable[StopOutcome]]
"""Stops a container, its restart policy left aside."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to come in place of the old."""

    image: str
    """Name or id."""
    new_first: bool = False
    """Whether the new one is started before the old one is stopped."""
    only_if_other: bool = False
    """Whether a container that was made of this very image stays as it is."""


class Replacement:
    """Of one container, which we have to ourselves."""

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        intents: Intents,
        *,
        old: Container,
        parameters: Parameters,
        stopping: Stopping,
        events: Events,
    ) -> None:
        self._engine: Final = engine
        self._hub: Final = hub
        self._intents: Final = intents
        self._old: Final = old
        self._parameters: Final = parameters
        self._stopping: Final = stopping
        self._events: Final = events
        self._began: Final = time.monotonic()
        self._down_at: float | None = None
        self._down_s = 0.0
        self._stop: StopOutcome | None = None
        self._overlap = Overlap(False, "")
        self._notes: list[str] = []

    async def run(self, wish: Wish) -> ChangeOutcome:
        """Replace it.

        Raises:
            EngineError: the engine does not answer; what was begun is finished or undone by the next Hitless.
        """
        if wish.only_if_other and await self._is_same(wish):
            message = f"{self._old.name} is made of {wish.image} as it is now"
            return self._outcome(Status.UNCHANGED, None, message)
        try:
            spec = await self._designed(wish)
        except (NoSuchImage, CannotOverlap, Tied) as error:
            reason = UNBEGUN[type(error)]
            return self._outcome(Status.REJECTED, reason, f"{self._old.name} was not replaced: {error}")
        self._note("begun")
        first = "new first" if self._overlap.new_first else "old first"
        self._emit("replacing", message=f"replacing it by one of {wish.image}, {first}: {self._overlap.why}")
        try:
            new = await self._created(spec)
        except EngineRefused as error:
            await self._remove_leftover()
            self._intents.remove(self._old.name)
            return self._outcome(
                Status.REJECTED, "not_created", f"{self._old.name} was not replaced: {error}"
            )
        self._note("created", new=new)
        return await (self._new_first if self._overlap.new_first else self._old_first)(new)

    async def _is_same(self, wish: Wish) -> bool:
        with suppress(NoSuchImage):
            return bool((await self._engine.image(wish.image))["Id"] == self._old.image_id)
        return False

    async def _designed(self, wish: Wish) -> Spec:
        """The new one, complete before anything is created; decides which of the two is first."""
        await check_ties(self._engine, self._old)
        await self._engine.image(wish.image)  # missing is better said before anything is created
        was: Mapping[str, Any] = {}
        with suppress(NoSuchImage):
            was = (await self._engine.image(self._old.image_id)).get("Config") or {}
        can_set = self._engine.dialect.can_set_policy
        fixed = await fixed_addresses(self._engine, self._old, keeps_all=self._parameters.keeps_addresses)
        same = creation(
            self._old,
            image=wish.image,
            image_config=was,
            policy=RestartPolicy() if can_set else self._old.policy,
            fixed=fixed,
        )
        other = self._parameters.alternates.switched(same)
        self._overlap = overlap(
            self._old, before=same, after=other, parameters=self._parameters, new_first=wish.new_first
        )
        if self._old.auto_remove and self._old.is_running and not self._overlap.new_first:
            raise CannotOverlap(
                "its engine removes it as soon as it ends (--rm), so it could not come back if the new one failed; replace it"
                " new first, or create it without --rm"
            )
        chosen = other if self._overlap.new_first else same
        return labelled(chosen, label_of(fixed if chosen is same else addresses_of(chosen, fixed)))

    async def _created(self, spec: Spec) -> str:
        await self._remove_leftover()
        body, more = complete(spec)
        new = await self._engine.create(f"{self._old.name}{NEW}", body)
        for network, endpoint in more:
            await self._engine.connect_network(network, {"Container": new, "EndpointConfig": endpoint})
        return new

    async def _old_first(self, new: str) -> ChangeOutcome:
        self._stop = await self._stopping(self._old)
        if not self._stop.is_stopped:
            return await self._back(new, f"{self._stop.reason}", self._stop.message, was_stopped=False)
        self._down_at = time.monotonic()
        await self._swap_names(new)
        if self._was_running:
            await self._released()
            try:
                await self._start(new)
            except (NotHealthy, EngineRefused) as error:
                return await self._back(new, _reason(error), str(error), was_stopped=True)
            self._notes += await self._admit(new)
        return await self._done(new)

    async def _released(self) -> None:
        """Until the old one, which has ended, has given its addresses back: Podman does that a moment after the end."""
        deadline = Deadline.after(RELEASE_S)
        with self._hub.watch(self._old.id) as watch, suppress(EngineError):
            while not deadline.expired:
                found = await self._engine.find(self._old.id)
                if found is None or not found.addresses:
                    return
                await watch.wait(LOOK_S)

    async def _new_first(self, new: str) -> ChangeOutcome:
        try:
            await self._start(new)
        except (NotHealthy, EngineRefused) as error:
            return await self._back(new, _reason(error), str(error), was_stopped=False)
        self._note("serves", new=new)
        if failures := await self._admit(new):
            return await self._back(new, "still_drained", "; ".join(failures), was_stopped=False, served=True)
        self._stop = await self._stopping(self._old)
        if not self._stop.is_stopped:
            return await self._back(
                new, f"{self._stop.reason}", self._stop.message, was_stopped=False, served=True
            )
        await self._swap_names(new)
        return await self._done(new)

    async def _admit(self, id: str) -> list[str]:  # noqa: A002
        """Let work come to a container that serves."""
        drains = self._parameters.sequence.drains
        found = await self._engine.find(id) if drains else None
        return [] if found is None else await admitted(drains, self._engine, found, ADMIT_S)

    async def _start(self, new: str) -> None:
        self._emit("starting", message="starting the new one", seconds=self._parameters.ready_s)
        limits = self._parameters
        await started(self._engine, self._hub, new, ready_s=limits.ready_s, settle_s=limits.settle_s)
        if self._down_at is not None:
            self._down_s = time.monotonic() - self._down_at

    async def _swap_names(self, new: str) -> None:
        with suppress(NoSuchContainer):  # it removed itself when it ended (--rm)
            await self._engine.rename(self._old.id, f"{self._old.name}{OLD}")
        await self._engine.rename(new, self._old.name)

    async def _done(self, new: str) -> ChangeOutcome:
        self._note("committed", new=new)
        await finish(self._engine, self._intents, self._old.name, self._intent("committed", new))
        name = self._old.name
        if self._notes:
            message = f"{name} is replaced, and gets no work: {'; '.join(self._notes)}"
            return self._outcome(Status.APPLIED, "still_drained", message, id_=new)
        does = "serves" if self._was_running else "does not run, as before"
        return self._outcome(Status.APPLIED, None, f"{name} is replaced, and {does}", id_=new)

    async def _back(
        self, new: str, reason: str, message: str, *, was_stopped: bool, served: bool = False
    ) -> ChangeOutcome:
        """The new one is no good, or the old one does not go: back to how it was. One that `served` is let finish its work."""
        log: tuple[str, ...] = ()
        with suppress(EngineError):
            found = await self._engine.inspect(new)
            log = await self._engine.log_tail(found)
            if served:
                await self._stopping(found)
        written = self._intents.get(self._old.name) or {}
        await undo(self._engine, self._intents, self._old.name, self._intent("created", new))
        after = await self._serves_again() if was_stopped else await self._serves_on(written)
        status = Status.ROLLED_BACK if was_stopped else Status.REJECTED
        return self._outcome(
            status, reason, f"{self._old.name} was not replaced: {message}; {after}", log=log
        )

    async def _serves_on(self, written: Mapping[str, Any]) -> str:
        """What is to be said of an old one that was not stopped; if it may still end, the next Hitless has to start it."""
        if not is_ending(await self._engine.find(self._old.id), written):
            return "the old one serves on"
        self._intents.put(self._old.name, {**written, "phase": "begun", "new": ""})
        return "the old one was told to stop and may still end; then the next run of hitless starts it again"

    async def _serves_again(self) -> str:
        """Wait for the old one, which was started again, and let work come to it; how that went."""
        try:
            with self._hub.watch(self._old.id) as watch:
                await healthy(
                    self._engine,
                    watch,
                    self._old.id,
                    ready_s=self._parameters.ready_s,
                    settle_s=self._parameters.settle_s,
                )
        except (NotHealthy, EngineError) as error:
            return f"the old one was started again, and does not serve: {error}"
        if self._down_at is not None:
            self._down_s = time.monotonic() - self._down_at
        failures = await self._admit(self._old.id)
        return "; ".join(["the old one serves again", *failures])

    async def _remove_leftover(self) -> None:
        with suppress(NoSuchContainer):
            await self._engine.remove(f"{self._old.name}{NEW}", force=True)

    def _note(self, phase: str, new: str = "") -> None:
        self._intents.put(self._old.name, self._intent(phase, new))

    def _intent(self, phase: str, new: str) -> dict[str, Any]:
        return {
            "what": "replace",
            "phase": phase,
            "id": self._old.id,
            "new": new,
            "policy": self._old.policy.to_json(),
            "was_running": self._was_running,
            "within_s": self._parameters.sequence.total_s,
            "ready": readiness(self._parameters.sequence.drains),
        }

    @property
    def _was_running(self) -> bool:
        return self._old.is_running or self._old.state == "restarting"

    def _outcome(
        self, status: Status, reason: str | None, message: str, *, id_: str = "", log: tuple[str, ...] = ()
    ) -> ChangeOutcome:
        outcome = ChangeOutcome(
            container=self._old.name,
            status=status,
            reason=reason,
            message=message,
            id=id_ or self._old.id,
            stop=self._stop,
            seconds=time.monotonic() - self._began,
            down_s=self._down_s,
            log=log,
            order="new_first" if self._overlap.new_first else "old_first",
        )
        self._emit("replaced", message=message)
        return outcome

    def _emit(self, verb: str, **fields: str | float) -> None:
        self._events.emit(f"container.{verb}", container=self._old.name, **fields)


def _reason(error: NotHealthy | EngineRefused) -> str:
    return error.reason if isinstance(error, NotHealthy) else "not_started"
