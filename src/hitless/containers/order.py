"""Which container is stopped after which: users before what they use, as far as it is declared.

Declared by `after` (`[service.mariadb] after = ["glance_*"]`) or by Docker Compose's own labels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from typing import Final, Protocol, TypeVar

from hitless.containers.container import Container
from hitless.containers.errors import InvalidParameters

PROJECT: Final = "com.docker.compose.project"
SERVICE: Final = "com.docker.compose.service"
DEPENDS: Final = "com.docker.compose.depends_on"

Order = Mapping[str, frozenset[str]]
"""By a container's name, the names of those that are stopped before it."""


def stop_order(containers: Mapping[str, Container], after: Mapping[str, Sequence[str]]) -> Order:
    """Among these containers. What is declared of others is passed over: they are not ours to wait for.

    Raises:
        InvalidParameters: they wait for each other in a circle.
    """
    order: dict[str, set[str]] = {name: set() for name in containers}
    for name, patterns in after.items():
        order[name] |= {
            other
            for other in containers
            if other != name and any(fnmatchcase(other, pattern) for pattern in patterns)
        }
    for name, container in containers.items():
        for used in _used(container, containers):
            order[used].add(name)
    try:
        TopologicalSorter(order).prepare()
    except CycleError as error:
        circle = " after ".join(error.args[1])
        raise InvalidParameters(f"these containers are each to be stopped after another: {circle}") from None
    return {name: frozenset(before) for name, before in order.items()}


def _used(container: Container, containers: Mapping[str, Container]) -> list[str]:
    """What Compose says that it depends on: `db:service_healthy:false,cache:service_started:true`."""
    project = container.labels.get(PROJECT)
    services = {part.partition(":")[0] for part in container.labels.get(DEPENDS, "").split(",") if part}
    return [
        name
        for name, other in containers.items()
        if services
        and other.labels.get(PROJECT) == project
        and other.labels.get(SERVICE) in services
        and other.id != container.id
    ]


class Named(Protocol):
    """Something with a container's name."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)
T = TypeVar("T")


def reverse_of(order: Order) -> Order:
    """The order of starting: what is used before its users."""
    return {name: frozenset(other for other, before in order.items() if name in before) for name in order}


async def in_order(
    targets: Sequence[N], order: Order, act: Callable[[N, Sequence[T]], Awaitable[T]]
) -> list[T]:
    """Act on each as soon as those before it are over, whose results it is given; otherwise all at the same time."""
    loop = asyncio.get_running_loop()
    over: dict[str, asyncio.Future[T]] = {target.name: loop.create_future() for target in targets}

    async def one(target: N) -> None:
        before = await asyncio.gather(*(over[name] for name in sorted(order[target.name])))
        over[target.name].set_result(await act(target, before))

    async with asyncio.TaskGroup() as group:
        for target in targets:
            group.create_task(one(target))
    return [over[target.name].result() for target in targets]
