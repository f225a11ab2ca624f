"""An agent that is a member of a group: everything of it, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from hitless.agent.agent import Agent
from hitless.agent.definition import Definition
from hitless.agent.group.coordinator import Coordinator, GroupError
from hitless.agent.group.diary import Diary
from hitless.agent.group.document import Document
from hitless.agent.group.membership import Membership
from hitless.agent.group.places import coordinator
from hitless.agent.group.share import Share
from hitless.agent.group.state import GroupState
from hitless.agent.group.station import Station
from hitless.agent.notifications.settings import Notifications, read_notifications
from hitless.agent.plugins import Plugins
from hitless.agent.running import Running
from hitless.agent.settings import AgentSettings
from hitless.change import Deadline, DeadlinePassed
from hitless.live import Limits

log = logging.getLogger(__name__)

LEAVE_S: Final = 60.0
"""For handing everything over when the agent stops; after it the others take over as after a death."""


class GroupedAgent:
    """Owned by one event loop."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        config: str,
        folder: Path,
        plugins: Plugins | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        allow_writable: bool = False,
    ) -> None:
        """`folder` is for the member's diary and the configurations that it has tried.

        Raises:
            GroupError: the group's URL is none. ConfigError: the notifications of `config` are not valid.
        """
        assert settings.group is not None
        group, name = settings.group, settings.name
        self._plugins: Final = plugins or Plugins()
        self._files: Final = settings.files
        self._allow_writable: Final = allow_writable
        self._coordinator: Final[Coordinator] = coordinator(group)
        self._share: Final = Share(group.new_member(name))
        notifications = Notifications()
        if settings.notifications is not None:
            notifications = read_notifications(
                settings.notifications, plugins=self._plugins, allow_writable=allow_writable, where=config
            ).notifications
        self.agent: Final = Agent(
            Running.of(Definition()), plugins=self._plugins, name=name, partition=self._share, limits=limits
        )
        self._station: Final = Station(self.agent, self._plugins, folder / "epochs", notifications)
        self.membership: Final = Membership(
            group,
            self._coordinator,
            self._share,
            self._station,
            name=name,
            diary=Diary(folder / "group.jsonl"),
        )
        self._running: asyncio.Task[None] | None = None

    @property
    def state(self) -> GroupState:
        """As this member has seen the group last."""
        return GroupState.of(self.membership.settings.name, self.membership.sight)

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
            await self._caught_up()
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

    async def _caught_up(self) -> None:
        """Wait until what the group polls by is in force here, or what it will poll by.

        Raises:
            GroupError: it cannot be.
        """
        membership = self.membership
        seconds = membership.settings.prepare + membership.settings.lease
        try:
            await Deadline.after(seconds).wait(
                membership.is_in_step.wait(), "it was not in step with the group"
            )
        except DeadlinePassed as error:
            raise GroupError(f"{error}; see hitless agent status") from error
        if membership.trouble:
            raise GroupError(f"what the group polls by cannot be put in force here: {membership.trouble}")

    async def failed(self) -> None:
        """Wait until the membership has ended by itself, which only a defect makes it do. Raises what ended it."""
        assert self._running is not None
        await asyncio.wait({self._running})
        if not self._running.cancelled():
            self._running.result()

    async def leave(self) -> None:
        """Hand everything over to the others, if there are any. The agent is still to be stopped."""
        self.membership.leave()
        running, self._running = self._running, None
        if running is not None:
            await asyncio.wait({running}, timeout=LEAVE_S)
            running.cancel()
            await asyncio.wait({running})

    def close(self) -> None:
        """Let go of the place where the group meets."""
        self._coordinator.close()

    async def stop(self) -> None:
        """Hand over, poll no more, flush and close everything."""
        await self.leave()
        await self.agent.stop()
        self.close()

    async def _abandon(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait({running})
        await self.agent.stop()
        self.close()
