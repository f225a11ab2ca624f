"""An agent that is a member of a group: everything of it, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from hitless.agent.agent import Agent
from hitless.agent.definition import Definition
from hitless.agent.group.coordinator import Coordinator, GroupError
from hitless.agent.group.diary import Diary
from hitless.agent.group.document import Document
from hitless.agent.group.membership import Membership, new_member
from hitless.agent.group.options import GroupSettings
from hitless.agent.group.places import coordinator
from hitless.agent.group.share import Share
from hitless.agent.group.station import Station
from hitless.agent.plugins import Plugins
from hitless.agent.running import Running
from hitless.live import Limits

log = logging.getLogger(__name__)

LEAVE_S: Final = 60.0
"""For handing everything over when the agent stops; after it the others take over as after a death."""


class GroupedAgent:
    """Owned by one event loop."""

    def __init__(
        self,
        settings: GroupSettings,
        *,
        name: str = "agent",
        files: Sequence[str] = (),
        folder: Path,
        plugins: Plugins | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        allow_writable: bool = False,
    ) -> None:
        """`folder` is for the member's diary and the configurations that it has tried.

        Raises:
            GroupError: the group's URL is none.
        """
        self._plugins: Final = plugins or Plugins()
        self._files: Final = files
        self._allow_writable: Final = allow_writable
        self._coordinator: Final[Coordinator] = coordinator(settings)
        self._share: Final = Share(new_member(settings, name))
        self.agent: Final = Agent(
            Running.of(Definition()), plugins=self._plugins, name=name, partition=self._share, limits=limits
        )
        self._station: Final = Station(self.agent, self._plugins, folder / "epochs")
        self.membership: Final = Membership(
            settings,
            self._coordinator,
            self._share,
            self._station,
            name=name,
            diary=Diary(folder / "group.jsonl"),
        )
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join; return when the group can be seen. It takes part when it has what the group polls by.

        Raises:
            ConfigError: the group has no configuration yet, and the one here is not valid.
            GroupError: the place where the group meets cannot be reached.
        """
        await self._station.start()
        self._running = asyncio.create_task(self.membership.run(), name="group")
        seen = asyncio.create_task(self.membership.has_looked.wait())
        try:
            await asyncio.wait(
                {seen, self._running},
                timeout=3 * self.membership.settings.lease,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not self.membership.has_looked.is_set():
                raise GroupError(
                    f"the group cannot be joined: {self.membership.unreachable or 'its store does not answer'}"
                )
            await self._bootstrap()
        except BaseException:
            await self._abandon()
            raise
        finally:
            seen.cancel()

    async def _bootstrap(self) -> None:
        record = self.membership.sight.record
        if not self._files or record.assignment is not None or record.draft is not None:
            return
        document = await asyncio.to_thread(
            Document.read, self._files, self._plugins, allow_writable=self._allow_writable
        )
        await self.membership.bootstrap(document.hash, document.text)

    async def failed(self) -> None:
        """Wait until the membership has ended by itself, which only a defect makes it do. Raises what ended it."""
        assert self._running is not None
        await asyncio.wait({self._running})
        if not self._running.cancelled():
            self._running.result()

    async def stop(self) -> None:
        """Hand over, poll no more, flush and close everything."""
        self.membership.leave()
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=LEAVE_S)
        await self._abandon()

    async def _abandon(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        await self.agent.stop()
        self._coordinator.close()
