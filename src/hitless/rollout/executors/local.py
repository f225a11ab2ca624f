"""Commands run on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from hitless.change import Deadline
from hitless.rollout.executors.conversation import Conversation, Way
from hitless.rollout.executors.errors import NotRun
from hitless.rollout.executors.executor import NOTHING, Finished, Target
from hitless.rollout.executors.settings import LocalSettings

START_S: Final = 60.0
"""For a shell of this machine to begin: long, because a busy machine is no broken one."""


class LocalExecutor:
    """Each command is a process group of its own with HITLESS_NODE and HITLESS_ADDRESS in its environment."""

    def __init__(self, settings: LocalSettings | None = None) -> None:
        settings = settings or LocalSettings()
        self._way: Final = Way(tuple, START_S, settings.output, is_remote=False)
        self._few: Final = asyncio.Semaphore(settings.parallel)

    async def run(
        self,
        node: Target,
        command: Sequence[str],
        deadline: Deadline,
        *,
        env: Mapping[str, str] = NOTHING,
        stdin: bytes | None = None,
    ) -> Finished:
        if node.options:
            raise NotRun(node.name, f"node {node.name}: local knows no option {min(node.options)}")
        told = {"HITLESS_NODE": node.name, "HITLESS_ADDRESS": node.address, **env}
        await deadline.wait(self._few.acquire(), f"{command[:1]} did not get its turn")
        try:
            return await Conversation(node, command, self._way).run(told, stdin or b"", deadline)
        finally:
            self._few.release()

    async def aclose(self) -> None:
        """Nothing is held."""
