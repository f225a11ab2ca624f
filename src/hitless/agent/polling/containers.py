"""Containers of Docker or Podman: `container://#NAME` at the usual socket, `container:///run/podman/podman.sock#NAME` at another.

The discovery `containers` finds all of them, `containers:///run/podman/podman.sock` those of that engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from hitless.agent.polling.discovery import discovery
from hitless.agent.polling.pollster import PermanentFailure, Poll, Pollster, pollster
from hitless.agent.sample import Sample, SampleKind
from hitless.containers.address import engine_address
from hitless.containers.container import Container
from hitless.containers.engine import Engine
from hitless.containers.errors import NoSuchContainer

SCHEME: Final = "container://"
CONTAINERS: Final = "containers"
AT_ONCE: Final = 8
CGROUPS: Final = Path("/sys/fs/cgroup")
SHARE: Final = 0.8


@discovery(group_id=None)
async def containers(parameter: str | None) -> Iterable[str]:
    """All containers of this machine's engine, running or not."""
    async with Engine(engine_address(f"unix://{parameter}" if parameter else None)) as engine:
        return [f"{SCHEME}{parameter or ''}#{name}" for _, name in await engine.names()]


Read = Callable[[Container], float | None]


def _meter(read: Read, unit: str, kind: SampleKind = "gauge") -> Pollster:
    """One thing about each container; no sample where there is nothing to say."""

    @pollster(discovery=CONTAINERS)
    async def measure(poll: Poll) -> list[Sample]:
        if wrong := [each for each in poll.resources if not each.startswith(SCHEME) or "#" not in each]:
            raise PermanentFailure(wrong, f"{poll.meter} polls {SCHEME}#NAME")
        samples = []
        for resource, container in (await _inspected(poll)).items():
            volume = read(container)
            if volume is not None:
                about = {"name": container.name, "image": container.image, "state": container.state}
                samples.append(
                    poll.sample(volume, unit=unit, resource=resource, kind=kind, metadata={**about})
                )
        return samples

    return measure


async def _inspected(poll: Poll) -> dict[str, Container]:
    """Each container is looked at once in a tick, whatever is wanted of it; one that is gone has no sample."""
    key = ("containers", poll.resources)
    task = poll.cache.get(key, lambda: asyncio.ensure_future(_all(poll.resources, poll.timeout_s * SHARE)))
    return await asyncio.shield(task)


async def _all(resources: Iterable[str], timeout_s: float) -> dict[str, Container]:
    by_engine: dict[str, list[str]] = {}
    for each in resources:
        by_engine.setdefault(each.removeprefix(SCHEME).partition("#")[0], []).append(each)
    found: dict[str, Container] = {}
    few = asyncio.Semaphore(AT_ONCE)
    for path, listed in by_engine.items():
        async with Engine(engine_address(f"unix://{path}" if path else None), call_s=timeout_s) as engine:

            async def look(resource: str, engine: Engine = engine) -> None:
                async with few:
                    with suppress(NoSuchContainer):
                        found[resource] = await engine.inspect(resource.partition("#")[2])

            await asyncio.gather(*(look(each) for each in listed))
    return {each: found[each] for each in resources if each in found}


def _cgroup(container: Container, controller: str, unified: str, old: str) -> str | None:
    """A file of the container's control group, which is that of its first process; None if it cannot be read."""
    if not container.is_running:
        return None
    with suppress(OSError):
        for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                file = CGROUPS / path.lstrip("/") / unified
            elif controller in controllers.split(","):
                file = CGROUPS / controller / path.lstrip("/") / old
            else:
                continue
            with suppress(OSError):
                return file.read_text()
    return None


def _memory(container: Container) -> float | None:
    text = _cgroup(container, "memory", "memory.current", "memory.usage_in_bytes")
    return float(text) if text is not None else None


def _cpu(container: Container) -> float | None:
    text = _cgroup(container, "cpuacct", "cpu.stat", "cpuacct.usage")
    if text is None:
        return None
    if text.startswith("usage_usec"):
        return float(text.split()[1]) / 1e6
    return float(text) / 1e9


def _health(container: Container) -> float | None:
    """Of those that have a health check and have been asked."""
    return None if container.health in ("", "starting") else float(container.health == "healthy")


running: Final = _meter(lambda each: float(each.is_running), "up")
healthy: Final = _meter(_health, "up")
restarts: Final = _meter(lambda each: float(each.restart_count), "restart", "cumulative")
memory_usage: Final = _meter(_memory, "B")
memory_limit: Final = _meter(lambda each: float(each.memory_limit) if each.memory_limit else None, "B")
cpu_time: Final = _meter(_cpu, "s", "cumulative")
