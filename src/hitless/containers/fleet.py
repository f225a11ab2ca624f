"""Many containers at once: in parallel as far as is allowed, in order as far as is declared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from hitless.change import Events, ExitCode
from hitless.containers.aside import PolicyAside
from hitless.containers.container import Container
from hitless.containers.engine import Engine
from hitless.containers.errors import ContainersError, EngineError, NoSuchContainer
from hitless.containers.hub import Hub
from hitless.containers.intents import Intents
from hitless.containers.order import stop_order
from hitless.containers.outcome import Ended, StopOutcome
from hitless.containers.oversight import Desk, desk
from hitless.containers.parameters import Parameters
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
        order = stop_order(
            {target.name: target.container for target in targets},
            {target.name: target.parameters.after for target in targets},
        )
        over: dict[str, asyncio.Future[StopOutcome]] = {}
        loop = asyncio.get_running_loop()
        for target in targets:
            over[target.name] = loop.create_future()
        async with asyncio.TaskGroup() as group:
            for target in targets:
                group.create_task(self._in_turn(target, order[target.name], over))
        return [over[target.name].result() for target in targets]

    async def stop_one(self, target: Target) -> StopOutcome:
        """Stop one, having it to ourselves. What goes wrong is in the outcome."""
        try:
            async with self.alone(target) as stopping:
                return await stopping()
        except ContainersError as error:
            return not_begun(target, error)

    @asynccontextmanager
    async def alone(self, target: Target) -> AsyncIterator[Callable[[], Awaitable[StopOutcome]]]:
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
                        aside=PolicyAside(self.engine, container, self.intents),
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

    async def _in_turn(
        self, target: Target, before: frozenset[str], over: Mapping[str, asyncio.Future[StopOutcome]]
    ) -> None:
        first = await asyncio.gather(*(over[name] for name in sorted(before)))
        still = [outcome.container for outcome in first if not outcome.is_stopped]
        if still:
            message = f"{target.name} was not stopped, because {', '.join(still)}, which use it, still run"
            over[target.name].set_result(_refused(target, "used", message))
            return
        over[target.name].set_result(await self.stop_one(target))


def not_begun(target: Target, error: ContainersError) -> StopOutcome:
    """The outcome where nothing was done."""
    if isinstance(error, NoSuchContainer):
        return _outcome(target, Ended.LOST, "gone", f"there is no container {target.name} any more")
    reason = "in_progress" if error.exit_code is ExitCode.BUSY else "engine_refused"
    if isinstance(error, EngineError) and error.exit_code in (ExitCode.NOBODY, ExitCode.DEADLINE):
        reason = "engine_gone"
    return _refused(target, reason, str(error))


def _refused(target: Target, reason: str, message: str) -> StopOutcome:
    return _outcome(target, Ended.REFUSED, reason, message)


def _outcome(target: Target, ended: Ended, reason: str, message: str) -> StopOutcome:
    return StopOutcome(target.name, target.container.id, ended, reason, message)
