"""Which container is stopped after which: users before what they use, as far as it is declared.

Declared by `after` (`[service.mariadb] after = ["glance_*"]`) or by Docker Compose's own labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from typing import Final

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
