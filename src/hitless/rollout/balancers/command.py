"""Any balancer that commands can be written for.

`state` prints `{NAME: {"status": "ready" | "drain" | "maint", "up": true, "sessions": 0, "queued": 0}}`,
`sessions` prints `[{"client": "192.0.2.7:1234", "age_s": 12.5}]`. A command that did its work exits with 0. Commands run
on this machine; HITLESS_SERVER is in their environment, and {server} in their words is the server's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.balancers.balancer import InstanceState, ServerState, Session, Status
from hitless.rollout.balancers.errors import (
    BalancerError,
    BalancerRefused,
    BalancerUnreachable,
    DrainLate,
    NoSuchServer,
)
from hitless.rollout.balancers.settings import CommandSettings
from hitless.rollout.executors import ExecutorError, Target
from hitless.rollout.executors.local import LocalExecutor

HERE: Final = Target("balancer", "localhost")
SAID: Final = 500


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)
    status: Status
    up: bool = True
    sessions: int = Field(0, ge=0)
    queued: int = Field(0, ge=0)


class _Session(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)
    client: str
    age_s: float = Field(ge=0)


_SERVERS: Final = TypeAdapter(dict[str, _Row])
_SESSIONS: Final = TypeAdapter(list[_Session])


class CommandBalancer:
    """One instance, whose name is `command`; what is behind it keeps its own instances in step."""

    def __init__(self, settings: CommandSettings) -> None:
        self._settings: Final = settings
        self._executor: Final = LocalExecutor()

    async def servers(self, deadline: Deadline) -> Mapping[str, ServerState]:
        said = await self._run(self._settings.state, "", deadline)
        try:
            rows = _SERVERS.validate_json(said)
        except ValidationError as error:
            raise self._nonsense(self._settings.state, error) from error
        return {name: _server(name, row) for name, row in rows.items()}

    async def drain(self, server: str, deadline: Deadline) -> None:
        await self._set(self._settings.drain, server, "drain", deadline)
        while not (state := await self._server(server, Deadline.after(self._settings.answer))).is_idle:
            if state.status == "ready":
                raise BalancerError(f"somebody else has set {server} to ready while it was to drain")
            if deadline.expired:
                left = await self.sessions(server, Deadline.after(self._settings.answer))
                raise DrainLate(
                    server, state.sessions + state.queued, seconds=deadline.seconds, sessions=left
                )
            await asyncio.sleep(min(self._settings.poll, deadline.remaining()))  # a command has no events

    async def maint(self, server: str, deadline: Deadline) -> None:
        if self._settings.maint is None:
            await self._set(self._settings.drain, server, "drain", deadline)
        else:
            await self._set(self._settings.maint, server, "maint", deadline)

    async def ready(self, server: str, deadline: Deadline) -> None:
        await self._set(self._settings.ready, server, "ready", deadline)
        while not (await self._server(server, deadline)).up:
            if deadline.expired:
                raise DeadlinePassed(f"{server} did not come up at the balancer", deadline.seconds)
            await asyncio.sleep(min(self._settings.poll, deadline.remaining()))

    async def sessions(self, server: str, deadline: Deadline) -> tuple[Session, ...]:
        if self._settings.sessions is None:
            return ()
        said = await self._run(self._settings.sessions, server, deadline)
        try:
            found = _SESSIONS.validate_json(said)
        except ValidationError as error:
            raise self._nonsense(self._settings.sessions, error) from error
        return tuple(
            sorted((Session(each.client, each.age_s) for each in found), key=lambda each: -each.age_s)
        )

    async def aclose(self) -> None:
        await self._executor.aclose()

    async def _server(self, server: str, deadline: Deadline) -> ServerState:
        servers = await self.servers(deadline)
        if server not in servers:
            raise NoSuchServer(
                f"the balancer has no server {server}; it has {', '.join(sorted(servers)) or 'none'}"
            )
        return servers[server]

    async def _set(self, command: Sequence[str], server: str, status: Status, deadline: Deadline) -> None:
        """Whether the command did what its exit code says is looked at: what is so already is not done again."""
        if (await self._server(server, deadline)).status == status:
            return
        await self._run(command, server, deadline)
        after = await self._server(server, deadline)
        if after.status != status:
            raise BalancerError(
                f"{_shown(command, server)} exited with 0, and {server} is {after.status} and not {status}"
            )

    async def _run(self, command: Sequence[str], server: str, deadline: Deadline) -> str:
        words = [word.replace("{server}", server) for word in command]
        try:
            done = await self._executor.run(
                HERE, words, deadline.sooner(self._settings.answer), env={"HITLESS_SERVER": server}
            )
        except (ExecutorError, DeadlinePassed) as error:
            if isinstance(error, DeadlinePassed) and deadline.expired:
                raise
            raise BalancerUnreachable(f"the balancer's command failed: {error}") from error
        if not done.ok:
            said = (done.errors or done.output).strip()[-SAID:] or "it said nothing"
            raise BalancerRefused(f"{_shown(command, server)} exited with {done.code}: {said}")
        return done.output

    @staticmethod
    def _nonsense(command: Sequence[str], error: ValidationError) -> BalancerUnreachable:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "its output"
        return BalancerUnreachable(
            f"{' '.join(command)} does not print what it should: {where}: {first['msg'].lower()}"
        )


def _server(name: str, row: _Row) -> ServerState:
    instance = InstanceState(row.status, row.up, row.sessions, row.queued)
    return ServerState(name, row.status, row.up, row.sessions, row.queued, {"command": instance})


def _shown(command: Sequence[str], server: str) -> str:
    return " ".join(word.replace("{server}", server) for word in command)
