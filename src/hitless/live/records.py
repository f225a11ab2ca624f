"""Where the changes of a runtime are recorded: its journal, and the lines of its log."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from hitless.change import JSON, Event, Journal, JournalUnwritable
from hitless.live.triggers import Triggers
from hitless.live.unrecorded import Unrecorded

log = logging.getLogger(__name__)

BAD: Final = frozenset(
    {
        "change.rejected",
        "change.rolled_back",
        "resource.close_failed",
        "resource.failed",
        "lease.overdue",
        "hook.failed",
        "source.lost",
    }
)
"""Events that are warnings."""


class Records:
    """The journal: below the state directory if the runtime has a name, and otherwise until the program ends. None of its
    own where a host keeps one.
    """

    def __init__(self, name: str | None, triggers: Triggers, *, is_ours: bool) -> None:
        self._temporary: Path | None = None
        self.journal: Final = self._open(name, triggers) if is_ours else Unrecorded()

    def close(self) -> None:
        self.journal.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _open(self, name: str | None, triggers: Triggers) -> Journal:
        given = triggers.state_dir
        if name is not None or given is not None:
            directory = Path(given) if given is not None else _state_directory(name or "live")
            try:
                return Journal(directory / "journal.sqlite")
            except JournalUnwritable as error:
                log.warning("%s; a temporary one is used", error)
        self._temporary = Path(tempfile.mkdtemp(prefix="hitless-live-"))
        return Journal(self._temporary / "journal.sqlite")


def _state_directory(name: str) -> Path:
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/hitless") / name
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "hitless" / name


def write_line(logger: logging.Logger, event: Event) -> None:
    """The event as one line of the program's log."""
    fields = " ".join(
        f"{key}={_short(value)!r}"
        for key, value in event.fields.items()
        if key != "detail" and value not in (None, "")
    )
    level = logging.WARNING if event.name in BAD else logging.INFO
    logger.log(level, "%s %s", event.name.replace(".", " ", 1), fields)


def _short(value: JSON) -> JSON:
    """Seconds and the like to the thousandth: nobody reads the rest."""
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value
