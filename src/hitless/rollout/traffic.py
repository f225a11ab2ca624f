"""All balancers of a service as one: a node has traffic if any of them sends it some, and none if none does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.balancers import (
    Balancer,
    BalancerError,
    BalancerUnreachable,
    DrainLate,
    ServerState,
    Session,
)
from hitless.rollout.errors import Late, RolloutError, Unreachable
from hitless.rollout.inventory import Node
from hitless.rollout.state import Traffic


class Balancers:
    """Every method raises Unreachable, Late or RolloutError."""

    def __init__(self, balancers: Mapping[str, Balancer]) -> None:
        self._balancers: Final = balancers

    @property
    def are_any(self) -> bool:
        return bool(self._balancers)

    async def servers(self, deadline: Deadline) -> dict[str, Mapping[str, ServerState]]:
        """What each balancer says of its servers."""
        found = {}
        for name, balancer in self._balancers.items():
            async with _explained(name):
                found[name] = await balancer.servers(deadline)
        return found

    async def traffic(self, deadline: Deadline) -> dict[str, Traffic]:
        """Of every server that all balancers have."""
        return together(list((await self.servers(deadline)).values()))

    async def drain(self, node: Node, deadline: Deadline) -> None:
        """Raises Late if requests outlive the deadline; the message names the oldest."""

        async def one(name: str, balancer: Balancer) -> None:
            async with _explained(name):
                await balancer.drain(node.server, deadline)

        async with _first_error(), asyncio.TaskGroup() as group:
            for name, balancer in self._balancers.items():
                group.create_task(one(name, balancer))

    async def maint(self, node: Node, deadline: Deadline) -> None:
        for name, balancer in self._balancers.items():
            async with _explained(name):
                await balancer.maint(node.server, deadline)

    async def ready(self, node: Node, deadline: Deadline) -> None:
        for name, balancer in self._balancers.items():
            async with _explained(name):
                await balancer.ready(node.server, deadline)

    async def sessions(self, node: Node, deadline: Deadline) -> tuple[Session, ...]:
        """The oldest first."""
        found: list[Session] = []
        for name, balancer in self._balancers.items():
            async with _explained(name):
                found += await balancer.sessions(node.server, deadline)
        return tuple(sorted(found, key=lambda session: -session.age_s))

    async def aclose(self) -> None:
        for balancer in self._balancers.values():
            await balancer.aclose()


def together(found: Sequence[Mapping[str, ServerState]]) -> dict[str, Traffic]:
    """One view of several balancers."""
    names = [set(each) for each in found]
    return {
        name: Traffic(
            is_ready=any(each[name].status == "ready" for each in found),
            is_up=all(each[name].status == "ready" and each[name].up for each in found),
            sessions=sum(each[name].sessions + each[name].queued for each in found),
        )
        for name in (set.intersection(*names) if names else set())
    }


@asynccontextmanager
async def _explained(name: str) -> AsyncIterator[None]:
    try:
        yield
    except DrainLate as error:
        raise Late("drain_late", f"the balancer {name}: {error}") from error
    except BalancerUnreachable as error:
        raise Unreachable("balancer_unreachable", f"the balancer {name}: {error}") from error
    except BalancerError as error:
        raise RolloutError(error.reason, f"the balancer {name}: {error}") from error
    except DeadlinePassed as error:
        raise Late("balancer_late", f"the balancer {name}: {error}") from error


@asynccontextmanager
async def _first_error() -> AsyncIterator[None]:
    """What a group of tasks raises, without the group."""
    try:
        yield
    except* RolloutError as group:
        error = group.exceptions[0]
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None
