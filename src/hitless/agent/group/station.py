"""The agent of a member, as the group changes it: the host of its runtime, which goes one step at a time.

prepare   read and check a configuration, build its publishers beside the old ones      may be refused
settle    what may still fail                                                           may be refused
swap      at the boundary; cannot fail
discard   throw away what was prepared
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from pathlib import Path
from typing import Any, Final

from hitless.agent.agent import Agent
from hitless.agent.group.document import Document
from hitless.agent.notifications.settings import Notifications
from hitless.agent.plugins import Plugins
from hitless.change import Refused
from hitless.change.threads import in_thread
from hitless.config import plain
from hitless.live.host import HOST
from hitless.live.hosted import Hosted
from hitless.live.lifetime import Lifetime


class Station:
    """Owned by the member's event loop. Steps come one after the other."""

    def __init__(
        self,
        agent: Agent,
        plugins: Plugins,
        folder: Path,
        notifications: Notifications = Notifications(),  # noqa: B008 - frozen
    ) -> None:
        self.agent: Final = agent
        self._plugins: Final = plugins
        self._folder: Final = folder
        self._notifications: Final = notifications
        self._hosted: Hosted[Any] | None = None
        self._lifetime: Final = Lifetime()
        self.prepared: int | None = None
        """The epoch that is built beside the one in force."""
        self.is_settled = False

    async def start(self) -> None:
        """With a configuration that polls nothing."""
        context = contextvars.copy_context()
        context.run(HOST.set, self)
        await asyncio.create_task(self.agent.start(), context=context)

    async def prepare(self, epoch: int, document: Document, timeout_s: float) -> None:
        """Raises Refused: nothing is left of it."""
        await self.discard()
        running = await in_thread(
            lambda: document.running(self._folder, self._plugins, self._notifications), f"check epoch {epoch}"
        )
        await self._runtime.prepare(json.dumps(plain(running)), timeout_s)
        self.prepared, self.is_settled = epoch, False

    async def settle(self) -> None:
        """Raises Refused: it is thrown away."""
        if self.is_settled:
            return
        try:
            await self._runtime.settle()
        except Refused:
            await self.discard()
            raise
        self.is_settled = True

    async def swap(self) -> None:
        """What is due before is begun by the old configuration."""
        await self.agent.catch_up()
        await self._runtime.swap()
        self.prepared, self.is_settled = None, False

    async def discard(self) -> None:
        if self.prepared is not None:
            if self.is_settled:
                await self._runtime.undo()
            await self._runtime.discard()
            self.prepared, self.is_settled = None, False

    @property
    def _runtime(self) -> Hosted[Any]:
        assert self._hosted is not None, "it is started before it is changed"
        return self._hosted

    # As the runtime's host

    @property
    def inherited(self) -> str | None:
        return None

    async def room(self) -> None:
        """A member has nothing that another one must give up first."""

    def attached(self, hosted: Hosted[Any]) -> None:
        self._hosted = hosted

    def failed(self, message: str, detail: str) -> None:
        """Whoever starts it is told by the exception."""

    def ready(self) -> None:
        """The member says so itself, when it takes part."""

    def lifetime(self) -> Lifetime:
        return self._lifetime
