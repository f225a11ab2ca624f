"""The simplest executor and balancer, until those of `executors/` and `balancers/` are there."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from typing import Final

from hitless.change import Deadline
from hitless.rollout.balancers import DrainLate, ServerState, Session
from hitless.rollout.balancers.settings import BalancerSettings, CommandSettings
from hitless.rollout.errors import Invalid
from hitless.rollout.executors import Finished, NotRun, Target


class Local:
    async def run(
        self, node: Target, command: Sequence[str], deadline: Deadline, *,
        env: Mapping[str, str] = {}, stdin: bytes | None = None,
    ) -> Finished:  # fmt: skip
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env={**os.environ, **env},
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
            )
        except OSError as error:
            raise NotRun(node.name, str(error)) from error
        try:
            out, err = await deadline.wait(process.communicate(stdin), f"{command[0]} did not end")
        finally:
            if process.returncode is None:
                process.kill()
        code = process.returncode or 0
        return Finished(
            code if code >= 0 else 128 - code, out.decode(errors="replace"), err.decode(errors="replace")
        )

    async def aclose(self) -> None:
        pass


class Command:
    def __init__(self, settings: BalancerSettings) -> None:
        if not isinstance(settings, CommandSettings):
            raise Invalid("not_yet", f"the balancer {settings.kind} is not there yet")
        self._settings: Final = settings
        self._executor: Final = Local()

    async def servers(self, deadline: Deadline) -> Mapping[str, ServerState]:
        rows = json.loads(await self._run(self._settings.state, "", deadline))
        return {
            name: ServerState(name, row["status"], row["up"], row["sessions"], row["queued"])
            for name, row in rows.items()
        }

    async def drain(self, server: str, deadline: Deadline) -> None:
        await self._run(self._settings.drain, server, deadline)
        while not (found := (await self.servers(Deadline.after(10)))[server]).is_idle:
            if deadline.expired:
                raise DrainLate(server, found.sessions + found.queued, seconds=deadline.seconds)
            await asyncio.sleep(self._settings.poll)

    async def maint(self, server: str, deadline: Deadline) -> None:
        await self._run(self._settings.maint or self._settings.drain, server, deadline)

    async def ready(self, server: str, deadline: Deadline) -> None:
        await self._run(self._settings.ready, server, deadline)

    async def sessions(self, server: str, deadline: Deadline) -> tuple[Session, ...]:  # noqa: ARG002
        return ()

    async def aclose(self) -> None:
        pass

    async def _run(self, words: Sequence[str], server: str, deadline: Deadline) -> str:
        command = [word.replace("{server}", server) for word in words]
        from hitless.rollout.balancers import BalancerUnreachable

        done = await self._executor.run(Target("here", "127.0.0.1"), command, deadline)
        if not done.ok:
            raise BalancerUnreachable(f"{command[0]} exited with {done.code}: {done.errors.strip()}")
        return done.output
