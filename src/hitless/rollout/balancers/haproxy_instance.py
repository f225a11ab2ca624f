"""One HAProxy: what it says of its servers, also in processes that a reload has left behind.

A reload starts a new process. The old one keeps the requests that it has, and the new one's figures do not hold them. A
master socket (`haproxy -W -S`) shows both, and then both are counted; behind a stats socket the old process
cannot be seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hitless.change import Deadline
from hitless.rollout.balancers.balancer import Session, Status
from hitless.rollout.balancers.errors import BalancerRefused, BalancerUnreachable
from hitless.rollout.balancers.runtime_api import RuntimeApi, rows, table

MAINT: Final = 0x01 | 0x02 | 0x04 | 0x20
"""Bits of srv_admin_state: forced, inherited, by the configuration, no address. Source: HAProxy's server.h, SRV_ADMF_*."""
DRAIN: Final = 0x08 | 0x10
RUNNING: Final = ("2", "3")
"""srv_op_state of a server that is up: running, stopping."""
UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}


@dataclass(frozen=True, slots=True)
class Key:
    """A server's name in HAProxy."""

    backend: str
    server: str

    def __str__(self) -> str:
        return f"{self.backend}/{self.server}"


@dataclass(frozen=True, slots=True)
class Row:
    """What one HAProxy says of one server, all its processes together."""

    status: Status
    up: bool
    sessions: int
    queued: int
    detail: str
    is_sticky: bool
    """Whether clients may be bound to it by a cookie, which drain does not stop."""


@dataclass(frozen=True, slots=True)
class Look:
    """One HAProxy at one time."""

    pid: int
    """Of the process that takes new connections."""
    is_whole: bool
    """Whether processes that it has left behind would be seen."""
    servers: Mapping[Key, Row]


class HAProxyInstance:
    """Talks to one HAProxy; remembers only whether its socket is a master's."""

    def __init__(self, address: str, answer_s: float) -> None:
        self._api: Final = RuntimeApi(address, answer_s)
        self.name: Final = address
        self._is_master: bool | None = None

    async def look(self, deadline: Deadline, server: str | None = None) -> Look:
        """Every server, or those of this name: with hundreds of them, what is not asked for is not taken apart.

        Raises:
            BalancerUnreachable: it does not answer, or nothing that can be understood.
        """
        while True:
            current, old = await self._processes(deadline)
            pid = await self._pid(current, deadline)
            servers = await self._servers(current, deadline, server)
            for process in old:
                for key, row in (await self._servers_of_old(process, deadline, server)).items():
                    if key in servers and (row.sessions or row.queued):
                        servers[key] = _together(servers[key], row)
            if pid == await self._pid(current, deadline):
                return Look(pid, bool(self._is_master), servers)
            # Reloaded meanwhile: half of this is of the old process.

    async def set(self, key: Key, status: Status, deadline: Deadline) -> None:
        """Set it, in the process that takes new connections: old ones refuse ("Proxy is disabled"), and close a
        connection after the request that it is busy with.

        Raises:
            BalancerRefused: HAProxy answered with an error.
        """
        current, _ = await self._processes(deadline)
        await self._api.tell(f"{current}set server {key} state {status}", deadline)

    async def sessions(self, key: Key, deadline: Deadline) -> list[Session]:
        """What the server works on."""
        current, old = await self._processes(deadline)
        found = []
        for process in (current, *old):
            answer = await self._api.ask(f"{process}show sess", deadline)
            found += [each for line in answer.splitlines() if (each := _session(line, key, self.name))]
        return found

    async def cut(self, key: Key, deadline: Deadline) -> None:
        """End all sessions of the server, whatever they are about."""
        current, old = await self._processes(deadline)
        await self._api.tell(f"{current}shutdown sessions server {key}", deadline)
        for process in old:  # whose servers cannot be named any more, but whose sessions can
            answer = await self._api.ask(f"{process}show sess", deadline)
            for line in answer.splitlines():
                if _session(line, key, self.name):
                    await self._api.tell(f"{process}shutdown session {line.partition(':')[0]}", deadline)

    async def _processes(self, deadline: Deadline) -> tuple[str, Sequence[str]]:
        """How commands for the current process begin, and for the old ones."""
        if self._is_master is False:
            return "", ()
        try:
            answer = await self._api.ask("show proc", deadline)
        except BalancerRefused:
            self._is_master = False  # only a master knows this command
            return "", ()
        self._is_master = True
        _, _, after = answer.partition("# old workers")
        old = [line.split() for line in after.partition("# programs")[0].splitlines() if line.strip()]
        return "@1 ", tuple(f"@!{words[0]} " for words in old if words[1:2] == ["worker"])

    async def _pid(self, process: str, deadline: Deadline) -> int:
        answer = await self._api.ask(f"{process}show info", deadline)
        found = re.search(r"^Pid: (\d+)$", answer, re.MULTILINE)
        if found is None:
            raise BalancerUnreachable(f"haproxy at {self.name} does not say which process it is")
        return int(found[1])

    async def _servers_of_old(
        self, process: str, deadline: Deadline, server: str | None
    ) -> Mapping[Key, Row]:
        try:
            return await self._servers(process, deadline, server)
        except BalancerUnreachable:
            if process in (await self._processes(deadline))[1]:
                raise
            return {}  # it has ended

    async def _servers(self, process: str, deadline: Deadline, server: str | None) -> dict[Key, Row]:
        name = None if server is None else server.rpartition("/")[2]
        states = table(
            _only(await self._api.ask(f"{process}show servers state", deadline), f" {name} ", name), self.name
        )
        stats = rows(
            _only(await self._api.ask(f"{process}show stat -1 4 -1", deadline), f",{name},", name),
            "pxname",
            self.name,
        )
        by_key = {Key(row["pxname"], row["svname"]): row for row in stats}
        found = {}
        for state in states:
            key = Key(state["be_name"], state["srv_name"])
            if key not in by_key:
                continue  # reloaded between the two questions: the next look has both
            try:
                found[key] = _row(state, by_key[key])
            except (KeyError, ValueError) as error:
                raise BalancerUnreachable(
                    f"haproxy at {self.name} says of {key} what cannot be understood: {error}"
                ) from error
        return found


def _only(answer: str, part: str, name: str | None) -> str:
    """The header, and the lines with this part; all if there is no name."""
    if name is None:
        return answer
    lines = answer.splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("#") or part in line)


def _row(state: Mapping[str, str], stat: Mapping[str, str]) -> Row:
    admin = int(state["srv_admin_state"])
    status: Status = "maint" if admin & MAINT else "drain" if admin & DRAIN else "ready"
    weight = int(state["srv_uweight"])
    return Row(
        status=status,
        up=state["srv_op_state"] in RUNNING and status != "maint",
        sessions=int(stat["scur"]),
        queued=int(stat["qcur"] or 0),
        detail=stat["status"] + ("" if weight else ", weight 0: it gets no work"),
        is_sticky=bool(stat.get("cookie")),
    )


def _together(current: Row, old: Row) -> Row:
    detail = f"{current.detail}, {old.sessions} sessions of a process that was reloaded"
    return Row(
        current.status,
        current.up,
        current.sessions + old.sessions,
        current.queued + old.queued,
        detail,
        current.is_sticky,
    )


def _session(line: str, key: Key, instance: str) -> Session | None:
    said = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if said.get("be") != key.backend or said.get("srv") != key.server:
        return None
    return Session(said.get("src", "?"), _seconds(said.get("age", "0")), instance)


def _seconds(age: str) -> float:
    """HAProxy's `1d2h`, `3m4s`, `5s`."""
    return float(sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms]?)", age)))
