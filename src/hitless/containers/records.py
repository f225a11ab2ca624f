"""What was done to containers, by whom, and how it came out: one row of the change journal for each attempt.

The journal is for people and their tools. What a crash leaves is put right by `Intents`, so a disk that is full keeps nobody
from stopping a container: that it could not be recorded is told.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal

from hitless.change import (
    JSON,
    Difference,
    Drained,
    Entry,
    Events,
    Journal,
    JournalUnwritable,
    Outcome,
    Plan,
    Status,
    canonical,
)
from hitless.change.scribe import Scribe
from hitless.containers.changed import ChangeOutcome
from hitless.containers.container import Container
from hitless.containers.outcome import Ended, StopOutcome

Verb = Literal["stop", "restart", "recreate", "upgrade"]

FILE: Final = "journal.sqlite"
READ_AT_ONCE: Final = 100_000
STATUS: Final = {
    Ended.CLEAN: Status.APPLIED,
    Ended.FORCED: Status.APPLIED,
    Ended.LOST: Status.APPLIED,
    Ended.ALREADY_STOPPED: Status.UNCHANGED,
    Ended.REFUSED: Status.REJECTED,
}


class Records:
    """Writes the rows of one command; close it when the last is written."""

    def __init__(
        self, directory: Path, *, tell: Callable[[str], None], requested_by: str | None = None
    ) -> None:
        self._tell: Final = tell
        self._by: Final = asker() if requested_by is None else requested_by
        self._scribe: Scribe | None = None
        self._journal: Journal | None = None
        try:
            self._journal = Journal(directory / FILE)
        except JournalUnwritable as error:
            tell(f"what is done is not recorded: {error}")
        else:
            self._scribe = Scribe(self._journal, Events())

    async def began(self, verb: Verb, container: Container, *, image: str | None = None) -> int | None:
        """The number of the row; None if it could not be written."""
        if self._scribe is None:
            return None
        moves = () if image is None else (Difference("image", container.image, image),)
        plan = Plan(kind=verb, from_generation=0, to_generation=0, differences=moves, subject=container.name)
        try:
            return await self._scribe.begin(plan, self._by)
        except JournalUnwritable as error:
            self._tell(f"what is done to {container.name} is not recorded: {error}")
            return None

    async def ended(self, row: int | None, outcome: StopOutcome | ChangeOutcome) -> None:
        """How it came out. A row that cannot be written now is written as soon as that is possible."""
        if self._scribe is None or row is None:
            return
        stop = outcome if isinstance(outcome, StopOutcome) else outcome.stop
        status = STATUS[outcome.ended] if isinstance(outcome, StopOutcome) else outcome.status
        told = {key: value for key, value in outcome.to_json().items() if key != "log"}
        written = Outcome(status, 0, outcome.reason, outcome.message, canonical(told))
        await self._scribe.finish(row, written, timings(outcome))
        if stop is not None and stop.is_stopped:
            clean = int(stop.is_clean)
            await self._scribe.drained(row, Drained(clean, 0, 1 - clean, stop.seconds))

    def close(self) -> None:
        if self._scribe is not None:
            self._scribe.close()
        if self._journal is not None:
            self._journal.close()


def timings(outcome: StopOutcome | ChangeOutcome) -> dict[str, float]:
    """Seconds by phase: `drain`, each signal, `stop`, `down`, and `all`."""
    stop = outcome if isinstance(outcome, StopOutcome) else outcome.stop
    found = {"all": outcome.seconds}
    if stop is not None:
        found["stop"] = stop.seconds
        if stop.drained_s:
            found["drain"] = stop.drained_s
        for step in stop.steps:
            found[step.signal] = found.get(step.signal, 0.0) + step.waited_s
    if isinstance(outcome, ChangeOutcome):
        found["down"] = outcome.down_s
    return found


@dataclass(frozen=True, slots=True)
class Record:
    """One attempt."""

    id: int
    at: float
    """When it began (Unix time)."""
    requested_by: str
    verb: str
    container: str
    outcome: str
    """`clean`, `forced` … of a stop, `applied`, `rolled_back` … of everything else; `open` while it goes on, `interrupted` where
    its process died."""
    reason: str | None
    message: str
    forced: bool
    """Whether work can have been cut."""
    image: str | None
    """The new one, where there was one."""
    timings: Mapping[str, float]
    told: Mapping[str, Any]
    """The whole outcome, as `--json` showed it, without log lines."""

    @classmethod
    def from_entry(cls, entry: Entry) -> Record:
        told = _told(entry.detail)
        moves: Any = entry.plan.get("differences") or ()
        stop = told.get("stop") or told
        return cls(
            id=entry.id,
            at=entry.at,
            requested_by=entry.requested_by,
            verb=str(entry.plan.get("kind")),
            container=str(entry.plan.get("subject") or ""),
            outcome=str(told.get("outcome") or entry.status),
            reason=entry.reason,
            message=entry.message,
            forced=stop.get("outcome") in (Ended.FORCED.value, Ended.LOST.value),
            image=next((str(each["new"]) for each in moves if each["key"] == "image"), None),
            timings=entry.timings,
            told=told,
        )

    def to_json(self) -> dict[str, JSON]:
        return {
            "id": self.id,
            "at": self.at,
            "requested_by": self.requested_by,
            "command": self.verb,
            "container": self.container,
            "outcome": self.outcome,
            "reason": self.reason,
            "message": self.message,
            "forced": self.forced,
            "image": self.image,
            "timings": dict(self.timings),
            "told": dict(self.told),
        }


def recorded(directory: Path, names: Sequence[str] = (), *, limit: int = 20) -> list[Record]:
    """The last rows of containers that are named (globs), newest first; of all if none is.

    Raises:
        JournalUnwritable: the journal cannot be read.
    """
    path = directory / FILE
    if not path.exists():
        return []
    journal = Journal(path, readonly=True)
    try:
        entries = journal.entries(READ_AT_ONCE if names else limit)
    finally:
        journal.close()
    rows = (Record.from_entry(entry) for entry in entries)
    meant = [row for row in rows if not names or any(fnmatchcase(row.container, name) for name in names)]
    return meant[:limit]


def asker() -> str:
    """Who runs this program: the user, who used sudo to become it, and the process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "?"
    sudo = os.environ.get("SUDO_USER")
    became = f", sudo by {sudo}" if sudo else ""
    return f"{user} (uid {os.getuid()}, pid {os.getpid()}{became})"


def _told(detail: str) -> Mapping[str, Any]:
    try:
        found = json.loads(detail or "{}")
    except ValueError:  # the journal keeps the end of what is too long
        return {}
    return found if isinstance(found, dict) else {}
