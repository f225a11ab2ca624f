"""nginx, by a file of its upstreams and reloads.

nginx tells nobody how many requests a server has. What can be known: a reload starts new workers, which do not know the
drained server, and the old ones end when their requests have. So a server is drained when all workers of before the
reload are gone, whichever server their requests are at; `sessions` counts those workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from hitless.change import Deadline
from hitless.rollout.balancers.agreement import agreed
from hitless.rollout.balancers.balancer import ServerState, Session, Status
from hitless.rollout.balancers.errors import BalancerError, DrainLate, NoSuchServer
from hitless.rollout.balancers.in_step import Act, in_step
from hitless.rollout.balancers.nginx_instance import NginxInstance
from hitless.rollout.balancers.settings import NginxSettings
from hitless.rollout.executors import Executor, Target
from hitless.rollout.executors.local import LocalExecutor
from hitless.rollout.executors.settings import SshSettings
from hitless.rollout.executors.ssh import SshExecutor


class Nginx:
    """One or more nginx with the same file."""

    def __init__(self, settings: NginxSettings) -> None:
        self._settings: Final = settings
        self._executor: Final[Executor] = (
            SshExecutor(SshSettings(kind="ssh", ssh=settings.ssh)) if settings.hosts else LocalExecutor()
        )
        nodes = [Target(host, host) for host in settings.hosts] or [Target("nginx", "localhost")]
        self._instances: Final = tuple(NginxInstance(node, self._executor, settings) for node in nodes)

    async def servers(self, deadline: Deadline) -> Mapping[str, ServerState]:
        looks = await asyncio.gather(*(each.states(deadline) for each in self._instances))
        names = [frozenset(look) for look in looks]
        if len(set(names)) > 1:
            odd = ", ".join(sorted({name for each in names for name in each ^ names[0]}))
            raise NoSuchServer(f"not all instances have the same servers in {self._settings.file}: {odd}")
        instances = [each.name for each in self._instances]
        return {
            name: agreed(name, dict(zip(instances, (look[name] for look in looks), strict=True)))
            for name in sorted(names[0])
        }

    async def drain(self, server: str, deadline: Deadline) -> None:
        await self._set(server, "drain", deadline)
        await self._emptied(server, deadline)

    async def maint(self, server: str, deadline: Deadline) -> None:
        """For nginx the same as drain, without the wait."""
        await self._set(server, "maint", deadline)

    async def ready(self, server: str, deadline: Deadline) -> None:
        """nginx has no state of a server that was not asked yet: it counts as up."""
        await self._set(server, "ready", deadline)

    async def sessions(self, server: str, deadline: Deadline) -> tuple[Session, ...]:  # noqa: ARG002
        """Old workers of all instances; their age is that of the process, and so at most that of what they finish."""
        looks = await asyncio.gather(*(each.sessions(deadline) for each in self._instances))
        return tuple(sorted((each for look in looks for each in look), key=lambda each: -each.age_s))

    async def aclose(self) -> None:
        await self._executor.aclose()

    async def _set(self, server: str, status: Status, deadline: Deadline) -> None:
        steps = []
        for instance in self._instances:
            before = (await instance.states(deadline)).get(server)
            back = before.status if before is not None else status
            steps.append(
                (
                    f"{server} at {instance.name}",
                    _setter(instance, server, status),
                    _setter(instance, server, back),
                )
            )
        await in_step(steps, deadline)

    async def _emptied(self, server: str, deadline: Deadline) -> None:
        masters: dict[str, int] = {}
        while True:
            left: list[Session] = []
            for instance in self._instances:
                workers = await instance.workers(Deadline.after(self._settings.answer))
                if masters.setdefault(instance.name, workers.master) != workers.master:
                    raise BalancerError(
                        f"nginx at {instance.name} was restarted while {server} drained; drain it again"
                    )
                left += [Session(f"worker {pid}", age, instance.name) for pid, age in workers.leaving.items()]
            if not left:
                return
            if deadline.expired:
                raise DrainLate(server, len(left), seconds=deadline.seconds, sessions=left)
            await asyncio.sleep(
                min(self._settings.poll, deadline.remaining())
            )  # nginx tells nobody of an end


def _setter(instance: NginxInstance, server: str, status: Status) -> Act:
    return lambda deadline: instance.set(server, status, deadline)
