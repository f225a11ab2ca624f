"""Everything that a rollout reaches the world with, opened and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from hitless.rollout.balancers import Balancer
from hitless.rollout.balancers.opening import balancer as open_balancer
from hitless.rollout.data import Data
from hitless.rollout.executors import Executor
from hitless.rollout.executors.local import LocalExecutor
from hitless.rollout.executors.opening import executor as open_executor
from hitless.rollout.nodes import process_of
from hitless.rollout.probe import Probes
from hitless.rollout.reading import Rollout
from hitless.rollout.traffic import Balancers
from hitless.rollout.world import World


@dataclass(frozen=True, slots=True)
class Opened:
    world: World
    here: Executor
    """Runs hooks."""


@asynccontextmanager
async def opened(rollout: Rollout, *, with_database: bool = True) -> AsyncIterator[Opened]:
    """The world of a rollout, and what commands are run with here."""
    settings = rollout.settings
    async with AsyncExitStack() as stack:
        executor = open_executor(settings.executor)
        stack.push_async_callback(executor.aclose)
        here = LocalExecutor()
        stack.push_async_callback(here.aclose)
        found: dict[str, Balancer] = {}
        for name, each in settings.balancers.items():
            found[name] = open_balancer(each)
            stack.push_async_callback(found[name].aclose)
        probes = Probes(settings.health, settings.version)
        stack.push_async_callback(probes.aclose)
        data = Data(rollout) if with_database and settings.database is not None else None
        world = World(
            rollout, process=process_of(settings.process), probes=probes, balancers=Balancers(found),
            executor=executor, data=data,
        )  # fmt: skip
        yield Opened(world, here)
