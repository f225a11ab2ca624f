"""Many containers at once: in parallel as far as is allowed, in order as far as is declared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from hitless.change import Events, ExitCode, Status
from hitless.containers.aside import PolicyAside, PolicyHeld
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import Container
from hitless.containers.engine import Engine
from hitless.containers.errors import ContainersError, EngineError, EngineUnreachable, NoSuchContainer
from hitless.containers.health import NotHealthy, healthy
from hitless.containers.hub import Hub
from hitless.containers.intents import Intents
from hitless.containers.order import Order, in_order, reverse_of, stop_order
from hitless.containers.outcome import Ended, StopOutcome
from hitless.containers.oversight import Desk, desk
from hitless.containers.parameters import Parameters
from hitless.containers.replacement import Replacement, Wish
from hitless.containers.stop import Stop

MAX_PARALLEL: Final = 64


@dataclass(frozen=True, slots=True)
class Target:
    """One container, and what applies to it."""

    container: Container
    parameters: Parameters

    @property
    def name(self) -> str:
        return self.container.name


def order_of(targets: Sequence[Target]) -> Order:
    """Which of them is stopped after which.

    Raises:
        InvalidParameters: they wait for each other in a circle.
    """
    containers = {target.name: target.container for target in targets}
    return stop_order(containers, {target.name: target.parameters.after for target in targets})


class Fleet:
    """Does things to containers of one engine. Cancelling what is awaited cancels each stop in order: nobody is killed."""

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        intents: Intents,
        *,
        events: Events | None = None,
        max_parallel: int = MAX_PARALLEL,
    ) -> None:
        self.engine: Final = engine
        self.hub: Final = hub
        self.intents: Final = intents
        self.events: Final = events or Events()
        self._few: Final = asyncio.Semaphore(max_parallel)
        self._stops: Final[set[Stop]] = set()
        self._is_cancelled = False

    def cancel(self) -> None:
        """Cancel every stop that goes on, and begin no more."""
        self._is_cancelled = True
        for stop in self._stops:
            stop.cancel()

    async def stop(self, targets: Sequence[Target]) -> list[StopOutcome]:
        """Stop them all; one outcome for each, in the order of `targets`.

        Raises:
            InvalidParameters: they wait for each other in a circle.
        """

        async def one(target: Target, users: Sequence[StopOutcome]) -> StopOutcome:
            still = [user.container for user in users if not user.is_stopped]
            if still:
                return _used(target, still)
            return await self.stop_one(target)

        return await in_order(targets, order_of(targets), one)

    async def restart(self, targets: Sequence[Target]) -> list[ChangeOutcome]:
        """Stop them all, each after its users, and start each again after what it uses.

        Raises:
            InvalidParameters: they wait for each other in a circle.
        """
        order = order_of(targets)
        stopped = await self.stop(targets)
        before = {target.name: outcome for target, outcome in zip(targets, stopped, strict=True)}

        async def one(target: Target, _: Sequence[ChangeOutcome]) -> ChangeOutcome:
            return await self._start_again(target, before[target.name])

        return await in_order(targets, reverse_of(order), one)

    async def replace(self, targets: Sequence[Target], wish: Callable[[Target], Wish]) -> list[ChangeOutcome]:
        """Replace them all, each after its users.

        Raises:
            InvalidParameters: they wait for each other in a circle.
        """

        async def one(target: Target, _: Sequence[ChangeOutcome]) -> ChangeOutcome:
            return await self.replace_one(target, wish(target))

        return await in_order(targets, order_of(targets), one)

    async def replace_one(self, target: Target, wish: Wish) -> ChangeOutcome:
        """Replace one, having it to ourselves. What goes wrong is in the outcome."""
        try:
            async with self.alone(target, PolicyHeld) as stopping:
                return await Replacement(
                    self.engine,
                    self.hub,
                    self.intents,
                    old=await self.engine.inspect(target.container.id),
                    parameters=target.parameters,
                    stopping=lambda _: stopping(),
                    events=self.events,
                ).run(wish)
        except ContainersError as error:
            message = f"{target.name} was not replaced: {error}; the next run of hitless puts it right"
            return ChangeOutcome(target.name, Status.REJECTED, _label(error), message, target.container.id)

    async def _start_again(self, target: Target, stop: StopOutcome) -> ChangeOutcome:
        began = time.monotonic()
        name, id_ = target.name, target.container.id
        if not stop.is_stopped or stop.reason in ("gone", "removed"):
            message = f"{name} was not restarted: {stop.message}"
            return ChangeOutcome(name, Status.REJECTED, stop.reason, message, id_, stop)
        limits = target.parameters
        try:
            with self.hub.watch(id_) as watch:
                await self.engine.start(id_)
                await healthy(self.engine, watch, id_, ready_s=limits.ready_s, settle_s=limits.settle_s)
        except (NotHealthy, EngineError) as error:
            reason = error.reason if isinstance(error, NotHealthy) else _label(error)
            message = f"{name} was stopped, and does not serve again: {error}"
            log = await self._log(id_)
            return ChangeOutcome(name, Status.REJECTED, reason, message, id_, stop, log=log)
        seconds = stop.seconds + time.monotonic() - began
        return ChangeOutcome(
            name, Status.APPLIED, None, f"{name} is restarted, and serves", id_, stop, seconds
        )

    async def _log(self, id_: str) -> tuple[str, ...]:
        try:
            return await self.engine.log_tail(await self.engine.inspect(id_))
        except EngineError:
            return ()

    async def stop_one(self, target: Target) -> StopOutcome:
        """Stop one, having it to ourselves. What goes wrong is in the outcome."""
        try:
            async with self.alone(target) as stopping:
                return await stopping()
        except ContainersError as error:
            return not_begun(target, error)

    @asynccontextmanager
    async def alone(
        self, target: Target, aside: type[PolicyAside] = PolicyAside
    ) -> AsyncIterator[Callable[[], Awaitable[StopOutcome]]]:
        """Have the container to ourselves; gives what stops it.

        Raises:
            StopInProgress: another process has it.
        """
        async with self._few, desk(target.name, self.intents.key(target.name)) as table:

            async def stopping() -> StopOutcome:
                with self.hub.watch(target.container.id) as watch:
                    container = await self.engine.inspect(target.container.id)
                    stop = Stop(
                        self.engine,
                        container,
                        target.parameters.sequence,
                        watch=watch,
                        aside=aside(self.engine, container, self.intents),
                        events=self.events,
                    )
                    return await self._followed(stop, table)

            yield stopping

    async def _followed(self, stop: Stop, table: Desk) -> StopOutcome:
        self._stops.add(stop)
        table.overseen = stop
        if self._is_cancelled:
            stop.cancel()
        try:
            return await stop.run()
        finally:
            table.overseen = None
            self._stops.discard(stop)


def not_begun(target: Target, error: ContainersError) -> StopOutcome:
    """The outcome where nothing was done."""
    if isinstance(error, NoSuchContainer):
        return _outcome(target, Ended.LOST, "gone", f"there is no container {target.name} any more")
    return _outcome(target, Ended.REFUSED, _label(error), str(error))


def _used(target: Target, by: Sequence[str]) -> StopOutcome:
    message = f"{target.name} was not stopped, because {', '.join(by)}, which use it, still run"
    return _outcome(target, Ended.REFUSED, "used", message)


def _label(error: ContainersError) -> str:
    if error.exit_code is ExitCode.BUSY:
        return "in_progress"
    return "engine_gone" if isinstance(error, EngineUnreachable) else "engine_refused"


def _outcome(target: Target, ended: Ended, reason: str, message: str) -> StopOutcome:
    return StopOutcome(target.name, target.container.id, ended, reason, message)
