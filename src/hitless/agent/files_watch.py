"""Following an agent's files where somebody else makes the changes: its supervisor is asked to reload when they have changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hitless.agent.settings import AgentSettings
from hitless.change.threads import in_thread
from hitless.config import Watcher
from hitless.control import ControlClient, ControlError, socket_path

log = logging.getLogger(__name__)

RELOAD_S: Final = 120.0
"""For one reload."""


def watcher_of(settings: AgentSettings, files: Sequence[Path]) -> Watcher:
    """Made before the files are read: what changes from then on is seen, and at worst read once more."""
    return Watcher(files, interval_s=settings.reload.interval, settle_s=settings.reload.settle)


async def follow(settings: AgentSettings, watcher: Watcher) -> None:
    """Until cancelled. Files that come and go in a directory are seen by the next process only."""
    async for change in watcher:
        if await in_thread(lambda: _reload(settings), "reload"):
            watcher.applied(change.hash)
        else:
            watcher.failed(change.hash)


def _reload(settings: AgentSettings) -> bool:
    path = Path(settings.control) if settings.control else socket_path(settings.name)
    try:
        with ControlClient(path) as supervisor:
            answer: Any = supervisor.call("reload", timeout_s=RELOAD_S)
    except ControlError as error:
        log.warning("the files have changed, and the supervisor did not reload: %s", error)
        return False
    return bool(answer["outcome"]["status"] in ("applied", "unchanged"))
