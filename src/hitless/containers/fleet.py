"""Many containers at once: in parallel as far as is allowed, in order as far as is declared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from hitless.change import Events, Status
from hitless.containers.aftermath import readiness, taken_over
from hitless.containers.aside import PolicyAside, PolicyHeld
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import Container
from hitless.containers.engine import Engine
from hitless.containers.errors import ContainersError, InvalidParameters, StopInProgress
from hitless.containers.hub import Hub, Watch
from hitless.containers.intents import Intents
from hitless.containers.order import in_order, reverse_of
from hitless.containers.outcome import StopOutcome
from hitless.containers.oversight import Desk, desk
from hitless.containers.records import Records, Verb
from hitless.containers.recovery import put_right
from hitless.containers.replacement import Replacement, Wish
from hitless.containers.restart import Restart
from hitless.containers.stop import Stop
from hitless.containers.target import Target, order_of
from hitless.containers.unbegun import label_of, not_begun, used

MAX_PARALLEL: Final = 64


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
        records: Records | None = None,
    ) -> None:
        """
        Raises:
            InvalidParameters: `max_parallel` is below 1.
        """
        if max_parallel < 1:
            raise InvalidParameters(
                f"max_parallel is {max_parallel}; at least one at a time, or nothing is ever done"
            )
        self.engine: Final = engine
        self.hub: Final = hub
        self.intents: Final = intents
        self.events: Final = events or Events()
        self._records: Final = records
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
            return used(target, users) or await self.stop_one(target)

        return await in_order(targets, order_of(targets), one)

    async def restart(self, targets: Sequence[Target]) -> list[ChangeOutcome]:
        """Stop them all, each after its users, and start each again after what it uses. All of them are ours until the last
        one serves.

        Raises:
            InvalidParameters: they wait for each other in a circle.
        """
        order = order_of(targets)
        async with AsyncExitStack() as stack:
            restarts = {
                target.name: Restart(self, target, await self._table(stack, target)) for target in targets
            }

            async def down(target: Target, users: Sequence[StopOutcome]) -> StopOutcome:
                async with self._few:
                    return await restarts[target.name].down(used(target, users))

            async def up(target: Target, _: Sequence[ChangeOutcome]) -> ChangeOutcome:
                async with self._few:
                    return await restarts[target.name].up()

            await in_order(targets, order, down)
            return await in_order(targets, reverse_of(order), up)

    async def _table(self, stack: AsyncExitStack, target: Target) -> Desk | ContainersError:
        try:
            return await stack.enter_async_context(desk(target.name, self.intents.key(target.name)))
        except ContainersError as error:
            return error

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
        is_other = wish.only_if_other or wish.image != target.container.image
        row = await self.began("upgrade" if is_other else "recreate", target, image=wish.image)
        try:
            async with self._few, desk(target.name, self.intents.key(target.name)) as table:
                outcome = await self._replaced(target, wish, table)
        except ContainersError as error:
            message = await self.told_of(error, target, "was not replaced")
            outcome = ChangeOutcome(
                target.name, Status.REJECTED, label_of(error), message, target.container.id
            )
        await self.told(row, outcome)
        return outcome

    async def _replaced(self, target: Target, wish: Wish, table: Desk) -> ChangeOutcome:
        self.intents.check(target.name, target.container.id)
        old = await self.ours(target)
        if self._is_cancelled:
            message = f"{target.name} was not replaced: everything was cancelled before"
            return ChangeOutcome(target.name, Status.REJECTED, "cancelled", message, old.id)

        async def stopping(container: Container) -> StopOutcome:
            aside = PolicyHeld(self.engine, container, self.intents, name=target.name)
            if container.id == old.id:
                return await self.stopped(container, target, table, aside)
            # The new one, which has served and is to go again: who cancels wants the old one back, not its clients cut.
            with self.hub.watch(container.id) as watch:
                return await self._stop(container, target, watch, aside).run()

        return await Replacement(
            self.engine,
            self.hub,
            self.intents,
            old=old,
            parameters=target.parameters,
            stopping=stopping,
            events=self.events,
        ).run(wish)

    async def ours(self, target: Target) -> Container:
        """The container as it is now, when we have it to ourselves; what a killed Hitless began with it is taken over."""
        found = await self.engine.inspect(target.container.id)
        return await taken_over(self.engine, self.intents, found, target.name)

    async def stop_one(self, target: Target) -> StopOutcome:
        """Stop one, having it to ourselves. What goes wrong is in the outcome."""
        row = await self.began("stop", target)
        try:
            async with self._few, desk(target.name, self.intents.key(target.name)) as table:
                container = await self.ours(target)
                ready = readiness(target.parameters.sequence.drains)
                aside = PolicyAside(self.engine, container, self.intents, ready=ready)
                outcome = await self.stopped(container, target, table, aside)
        except ContainersError as error:
            outcome = not_begun(target, error)
        await self.told(row, outcome)
        return outcome

    async def stopped(
        self, container: Container, target: Target, table: Desk, aside: PolicyAside
    ) -> StopOutcome:
        """Stop it, which is ours; `table` is where it can be extended and cancelled.

        Raises:
            EngineError: before anything was done.
        """
        with self.hub.watch(container.id) as watch:
            return await self._followed(self._stop(container, target, watch, aside), table)

    def _stop(self, container: Container, target: Target, watch: Watch, aside: PolicyAside) -> Stop:
        sequence = target.parameters.sequence
        return Stop(self.engine, container, sequence, watch=watch, aside=aside, events=self.events)

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

    async def told_of(self, error: ContainersError, target: Target, what: str) -> str:
        """What is to be said where something broke off, after it was put right as far as that is possible."""
        said = []
        if not isinstance(error, StopInProgress):
            said = await put_right(self.engine, self.hub, self.intents, target.name)
        is_left = self.intents.get(target.name) is not None
        left = ["what was begun is put right by the next run"] if is_left and not said else []
        return "; ".join([f"{target.name} {what}: {error}", *said, *left])

    async def began(self, verb: Verb, target: Target, *, image: str | None = None) -> int | None:
        """Begin a row in the journal; its number, if it is there."""
        if self._records is None:
            return None
        return await self._records.began(verb, target.container, image=image)

    async def told(self, row: int | None, outcome: StopOutcome | ChangeOutcome) -> None:
        """End a row."""
        if self._records is not None:
            await self._records.ended(row, outcome)
