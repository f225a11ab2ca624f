"""One container replaced by another of the same name: a change in the sense of `hitless.change`.

    create NAME.hitless-new ─► stop the old ─► swap the names ─► start ─► healthy? ─► remove the old
                                                                            └─ no: remove the new, bring back the old
    with new_first:  create ─► start ─► healthy? ─► stop the old ─► swap the names ─► remove the old

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

from hitless.change import Events, Status
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import Container, RestartPolicy
from hitless.containers.engine import CALL_S, Engine
from hitless.containers.errors import EngineError, EngineRefused, NoSuchContainer, NoSuchImage
from hitless.containers.health import NotHealthy, healthy
from hitless.containers.hub import Hub
from hitless.containers.intents import Intents
from hitless.containers.outcome import StopOutcome
from hitless.containers.parameters import Parameters
from hitless.containers.spec import creation, more_networks

NEW: Final = ".hitless-new"
OLD: Final = ".hitless-old"

NEW_END_S: Final = 10.0
"""For a new container that never was healthy to end, before the old one is started again."""

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

    async def run(self, wish: Wish) -> ChangeOutcome:
        """Replace it.

        Raises:
            EngineError: the engine does not answer; what was begun is finished or undone by the next Hitless.
        """
        if wish.only_if_other and await self._is_same(wish):
            message = f"{self._old.name} is made of {wish.image} as it is now"
            return self._outcome(Status.UNCHANGED, None, message)
        self._note("begun")
        self._emit("replacing", message=f"replacing it by one of {wish.image}")
        try:
            new = await self._created(wish)
        except EngineRefused as error:
            await self._remove_leftover()
            self._intents.remove(self._old.name)
            reason = "image_missing" if isinstance(error, NoSuchImage) else "not_created"
            return self._outcome(Status.REJECTED, reason, f"{self._old.name} was not replaced: {error}")
        self._note("created", new=new)
        order = self._new_first if wish.new_first and self._old.is_running else self._old_first
        return await order(new)

    async def _is_same(self, wish: Wish) -> bool:
        with suppress(NoSuchImage):
            return bool((await self._engine.image(wish.image))["Id"] == self._old.image_id)
        return False

    async def _created(self, wish: Wish) -> str:
        await self._remove_leftover()
        await self._engine.image(wish.image)  # missing is better said before anything is created
        was: Mapping[str, Any] = {}
        with suppress(NoSuchImage):
            was = (await self._engine.image(self._old.image_id)).get("Config") or {}
        return await self._create(wish.image, was)

    async def _create(self, image: str, was: Mapping[str, Any]) -> str:
        can_set = self._engine.dialect.can_set_policy
        policy = RestartPolicy() if can_set else self._old.policy
        body = creation(self._old, image=image, image_config=was, policy=policy)
        new = await self._engine.create(f"{self._old.name}{NEW}", body)
        for network, endpoint in more_networks(self._old):
            await self._engine.connect_network(network, {"Container": new, "EndpointConfig": endpoint})
        return new

    async def _old_first(self, new: str) -> ChangeOutcome:
        self._stop = await self._stopping(self._old)
        if not self._stop.is_stopped:
            return await self._back(new, f"{self._stop.reason}", self._stop.message, was_stopped=False)
        self._down_at = time.monotonic()
        await self._swap_names(new)
        if self._old.is_running or self._old.state == "restarting":
            try:
                await self._start(new)
            except (NotHealthy, EngineRefused) as error:
                reason = error.reason if isinstance(error, NotHealthy) else "not_started"
                return await self._back(new, reason, str(error), was_stopped=True)
        return await self._done(new)

    async def _new_first(self, new: str) -> ChangeOutcome:
        try:
            await self._start(new)
        except (NotHealthy, EngineRefused) as error:
            reason = error.reason if isinstance(error, NotHealthy) else "not_started"
            return await self._back(new, reason, str(error), was_stopped=False)
        self._stop = await self._stopping(self._old)
        if not self._stop.is_stopped:
            total_s = self._parameters.sequence.total_s  # the new one has served: its work is worth as much
            return await self._back(
                new, f"{self._stop.reason}", self._stop.message, was_stopped=False, within_s=total_s
            )
        await self._swap_names(new)
        return await self._done(new)

    async def _start(self, new: str) -> None:
        self._emit("starting", message="starting the new one", seconds=self._parameters.ready_s)
        with self._hub.watch(new) as watch:
            await self._engine.start(new)
            await healthy(
                self._engine,
                watch,
                new,
                ready_s=self._parameters.ready_s,
                settle_s=self._parameters.settle_s,
            )
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
        return self._outcome(Status.APPLIED, None, f"{name} is replaced, and serves", id_=new)

    async def _back(
        self, new: str, reason: str, message: str, *, was_stopped: bool, within_s: float = NEW_END_S
    ) -> ChangeOutcome:
        """The new one is no good, or the old one does not go: back to how it was."""
        log: tuple[str, ...] = ()
        with suppress(EngineError):
            log = await self._engine.log_tail(await self._engine.inspect(new))
        await undo(
            self._engine, self._intents, self._old.name, self._intent("created", new), within_s=within_s
        )
        status = Status.ROLLED_BACK if was_stopped else Status.REJECTED
        after = "the old one serves again" if was_stopped else "the old one serves on"
        if was_stopped and self._down_at is not None:
            self._down_s = time.monotonic() - self._down_at
        return self._outcome(
            status, reason, f"{self._old.name} was not replaced: {message}; {after}", log=log
        )

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
            "was_running": self._old.is_running or self._old.state == "restarting",
        }

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
        )
        self._emit("replaced", message=message)
        return outcome

    def _emit(self, verb: str, **fields: str | float) -> None:
        self._events.emit(f"container.{verb}", container=self._old.name, **fields)


async def _removed(engine: Engine, new: Container, *, within_s: float) -> None:
    with suppress(NoSuchContainer):
        if new.is_running:
            await engine.halt(new.id, max(1, round(within_s)), call_s=within_s + CALL_S)
        await engine.remove(new.id, force=True)


async def finish(engine: Engine, intents: Intents, name: str, intent: Mapping[str, Any]) -> None:
    """The new one is healthy: let it have name and restart policy, and remove the old one."""
    policy = RestartPolicy.from_json(intent["policy"])
    new = await engine.inspect(str(intent["new"]))
    old = await engine.find(str(intent["id"]))
    if old is not None and old.name == name:
        await engine.rename(old.id, f"{name}{OLD}")
    if new.name != name:
        await engine.rename(new.id, name)
    if engine.dialect.can_set_policy and new.policy != policy:
        await engine.set_policy(new.id, policy)
    if intent["was_running"] and not new.is_running:
        await engine.start(new.id)
    if old is not None:
        with suppress(NoSuchContainer):
            await engine.remove(old.id)
    intents.remove(name)


async def undo(
    engine: Engine,
    intents: Intents,
    name: str,
    intent: Mapping[str, Any],
    *,
    within_s: float = NEW_END_S,
) -> None:
    """The new one is no good, or nobody knows: remove it, and let the old one be as it was. A new one that runs has
    `within_s` to end.

    Raises:
        NoSuchContainer: neither is there any more.
    """
    old = await engine.find(str(intent["id"]))
    new = await engine.find(str(intent["new"])) if intent["new"] else await engine.find(f"{name}{NEW}")
    if old is None:
        if new is None:
            intents.remove(name)
            raise NoSuchContainer(
                404, f"neither {name} nor its replacement is there any more; create it again"
            )
        await finish(engine, intents, name, {**intent, "new": new.id})
        return
    if new is not None and new.id != old.id:
        await _removed(engine, new, within_s=within_s)
    if old.name != name:
        await engine.rename(old.id, name)
    policy = RestartPolicy.from_json(intent["policy"])
    if engine.dialect.can_set_policy and old.policy != policy:
        await engine.set_policy(old.id, policy)
    if intent["was_running"] and not old.is_running:
        await engine.start(old.id)
    intents.remove(name)
