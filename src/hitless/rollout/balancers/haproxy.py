"""HAProxy, by its runtime API: one instance, or several that are kept in step.

What holds a drained server's `scur` above 0: requests that are under way, tunnels (WebSockets), and in TCP mode every
connection, idle or not. What does not: idle keep-alive connections of clients (their next request goes to another
server) and idle connections to the server (`http-reuse`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.balancers.agreement import agreed
from hitless.rollout.balancers.balancer import InstanceState, ServerState, Session, Status
from hitless.rollout.balancers.errors import BalancerError, BalancerUnreachable, DrainLate, NoSuchServer
from hitless.rollout.balancers.haproxy_instance import HAProxyInstance, Key, Look, Row
from hitless.rollout.balancers.in_step import Act, in_step
from hitless.rollout.balancers.pause import pause
from hitless.rollout.balancers.restarts import Restarts
from hitless.rollout.balancers.settings import HAProxySettings

Told = Callable[[str], None]
LAST_S: Final = 1.0
"""For the last look, at the deadline."""
REPORT_S: Final = 10.0
"""For finding out who is late, after the deadline."""


class HAProxy:
    """A server's name is `server`, or `backend/server` where several backends have it."""

    def __init__(self, settings: HAProxySettings, told: Told = lambda _: None) -> None:
        """`told` hears what no return value says: an instance that was reloaded or does not answer, sessions that were
        cut."""
        self._settings: Final = settings
        self._told: Final = told
        self._instances: Final = tuple(HAProxyInstance(each, settings.answer) for each in settings.instances)

    async def servers(self, deadline: Deadline) -> Mapping[str, ServerState]:
        looks = await self._looks(deadline)
        keys = sorted(
            {key for look in looks.values() for key in look.servers if self._is_meant(key)}, key=str
        )
        backends = Counter(key.server for key in keys)
        named: dict[str, list[Key]] = {}
        for key in keys:
            is_enough = backends[key.server] == 1 or self._settings.backends
            named.setdefault(key.server if is_enough else str(key), []).append(key)
        return {
            name: _state(name, self._everywhere(name, found, looks), looks) for name, found in named.items()
        }

    async def drain(self, server: str, deadline: Deadline) -> None:
        looks = await self._set(server, "drain", deadline)
        await self._emptied(server, "drain", looks, deadline)

    async def maint(self, server: str, deadline: Deadline) -> None:
        """Clients that are bound to a server by a cookie or a stick table get to it while it drains, and not any more
        now: requests that came in between are waited for, if the server had none before.

        Raises:
            DrainLate: they are not done when the deadline passes. The server is out.
        """
        before = self._state(server, await self._looks(deadline, server))
        looks = await self._set(server, "maint", deadline)
        if before.is_idle:
            await self._emptied(server, "maint", looks, deadline)

    async def ready(self, server: str, deadline: Deadline) -> None:
        await self._set(server, "ready", deadline)
        while not (state := self._state(server, await self._looks(deadline, server))).up:
            late = [name for name, each in state.instances.items() if not each.up]
            await pause(deadline, self._settings.poll, f"{server} did not come up at {', '.join(late)}")

    async def sessions(self, server: str, deadline: Deadline) -> tuple[Session, ...]:
        keys = self._keys(server, await self._looks(deadline, server))
        asked = [each.sessions(key, deadline) for each in self._instances for key in keys]
        found = [session for some in await asyncio.gather(*asked) for session in some]
        return tuple(sorted(found, key=lambda each: -each.age_s))

    async def aclose(self) -> None:
        """Nothing is held between two questions."""

    async def _looks(self, deadline: Deadline, server: str | None = None) -> Mapping[str, Look]:
        """Of one server, or of all. One that is not everywhere is looked for among all: the error says what there is."""
        looks = await asyncio.gather(*(each.look(deadline, server) for each in self._instances))
        if server is not None and not all(look.servers for look in looks):
            return await self._looks(deadline)
        return {each.name: look for each, look in zip(self._instances, looks, strict=True)}

    async def _set(self, server: str, status: Status, deadline: Deadline) -> Mapping[str, Look]:
        """On all instances and in all backends, or on none; what is so then."""
        while True:
            looks = await self._looks(deadline, server)
            await in_step(list(self._steps(server, status, looks)), deadline)
            after = await self._looks(deadline, server)
            state = self._state(server, after)
            if state.status == status:
                return after
            if all(after[name].pid == looks[name].pid for name in looks):
                details = "; ".join(f"{name} says {each.detail}" for name, each in state.instances.items())
                raise BalancerError(f"{server} was set to {status} and is {state.status}: {details}")

    def _steps(
        self, server: str, status: Status, looks: Mapping[str, Look]
    ) -> Iterator[tuple[str, Act, Act]]:
        for instance in self._instances:
            for key in self._keys(server, looks):
                before = looks[instance.name].servers[key].status
                if before != status:
                    back = _setter(instance, key, before)
                    yield f"{key} at {instance.name}", _setter(instance, key, status), back

    async def _emptied(
        self, server: str, status: Status, found: Mapping[str, Look], deadline: Deadline
    ) -> None:
        """Until nothing is left, with an eye on instances that are restarted meanwhile."""
        restarts = Restarts(server, self._told, self._settings.answer)
        restarts.seen(found)
        cut = None if self._settings.cut_after is None else Deadline.after(self._settings.cut_after)
        while True:
            looks = await self._watched(server, status, restarts, deadline)
            state = self._state(server, looks) if looks else None
            if state is not None and state.is_idle and not restarts.is_anybody_left:
                return
            if deadline.expired:
                raise await self._late(server, state, deadline)
            if cut is not None and cut.expired and state is not None:
                await self._cut(server, deadline)
                cut = None
            await asyncio.sleep(
                min(self._settings.poll, deadline.remaining())
            )  # HAProxy tells nobody of an end

    async def _watched(
        self, server: str, status: Status, restarts: Restarts, deadline: Deadline
    ) -> Mapping[str, Look] | None:
        """What the instances say, or None if that cannot be relied on just now."""
        try:
            looks = await self._looks(
                Deadline.after(max(LAST_S, deadline.sooner(self._settings.answer).remaining())),
                server,
            )
            restarted = restarts.seen(looks)
            forgotten = {
                name
                for name, look in looks.items()
                if any(look.servers[key].status != status for key in self._keys(server, looks))
            }
            if not forgotten:
                restarts.confirm()
                return looks
            if forgotten <= restarted:
                await self._set(server, status, deadline)
                return None
        except (BalancerUnreachable, DeadlinePassed) as error:
            restarts.silence(BalancerUnreachable(str(error)))
            return None
        raise BalancerError(
            f"somebody else has set {server} at {', '.join(sorted(forgotten))} while it was to {status}"
        )

    async def _cut(self, server: str, deadline: Deadline) -> None:
        left = await self.sessions(server, deadline)
        for instance in self._instances:
            for key in self._keys(server, await self._looks(deadline, server)):
                await instance.cut(key, deadline)
        named = ", ".join(str(each) for each in left) or "none that it could name"
        self._told(f"{len(left)} sessions of {server} were cut after {self._settings.cut_after:g} s: {named}")

    async def _late(self, server: str, state: ServerState | None, deadline: Deadline) -> BalancerError:
        if state is None:
            return BalancerUnreachable(
                f"nobody knows whether {server} is drained: an instance did not answer in the end"
            )
        try:
            left = await self.sessions(server, Deadline.after(REPORT_S))
        except (BalancerError, DeadlinePassed):
            left = ()
        return DrainLate(server, state.sessions + state.queued, seconds=deadline.seconds, sessions=left)

    def _state(self, server: str, looks: Mapping[str, Look]) -> ServerState:
        return _state(server, self._keys(server, looks), looks)

    def _keys(self, server: str, looks: Mapping[str, Look]) -> Sequence[Key]:
        """Which servers of which backends are meant.

        Raises:
            NoSuchServer: none, or not the same at all instances, or several and nothing says that all are meant.
        """
        keys = {key for look in looks.values() for key in look.servers if self._is_named(key, server)}
        found = self._everywhere(server, sorted(keys, key=str), looks)
        if len(found) > 1 and not self._settings.backends:
            raise NoSuchServer(
                f"{server} stands in several backends: write one of {', '.join(map(str, found))}, or set backends"
            )
        return found

    @staticmethod
    def _everywhere(server: str, keys: Sequence[Key], looks: Mapping[str, Look]) -> Sequence[Key]:
        """That there are some, and at all instances."""
        for name, look in looks.items():
            missing = [str(key) for key in keys if key not in look.servers]
            if missing or not keys:
                raise NoSuchServer(
                    f"haproxy at {name} has no server {', '.join(missing) or server}; it has {_names(look)}"
                )
        return keys

    def _is_meant(self, key: Key) -> bool:
        return not self._settings.backends or key.backend in self._settings.backends

    def _is_named(self, key: Key, server: str) -> bool:
        return server == str(key) or (server == key.server and self._is_meant(key))


def _setter(instance: HAProxyInstance, key: Key, status: Status) -> Act:
    return lambda deadline: instance.set(key, status, deadline)


def _state(name: str, keys: Sequence[Key], looks: Mapping[str, Look]) -> ServerState:
    return agreed(
        name, {where: _instance([look.servers[key] for key in keys]) for where, look in looks.items()}
    )


def _instance(rows: Sequence[Row]) -> InstanceState:
    """A server of several backends: the least of all."""
    order: Sequence[Status] = ("ready", "drain", "maint")
    statuses = {row.status for row in rows}
    status = next(each for each in order if each in statuses)
    return InstanceState(
        status=status,
        up=all(row.up for row in rows),
        sessions=sum(row.sessions for row in rows),
        queued=sum(row.queued for row in rows),
        detail=", ".join(dict.fromkeys(row.detail for row in rows)),
    )


def _names(look: Look) -> str:
    names = sorted(str(key) for key in look.servers)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"
