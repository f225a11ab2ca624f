"""Reloads by itself when the configuration file has changed, where `reload.watch` says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hitless.change import Refused
from hitless.config import Watcher
from hitless.serve.changes import Reload
from hitless.serve.settings import Reload as ReloadSettings

if TYPE_CHECKING:
    from hitless.serve.supervisor import Supervisor


async def watch(supervisor: Supervisor, path: Path, settings: ReloadSettings) -> None:
    """Until cancelled: one reload for each new, stable content of `path`."""
    raise NotImplementedError
