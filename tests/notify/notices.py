"""Notices and sinks for tests."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from typing import Any

from hitless.notify import Notice, Phase, Retries, SinkFailed

PATIENCE_S = 60.0
SOON = Retries(attempts=3, first_s=0.001, longest_s=0.01)


def notice(change: int = 1, **fields: Any) -> Notice:
    given: dict[str, Any] = {
        "service": "volumes",
        "host": "here",
        "at": 1795233816.25,
        "phase": Phase.START,
        "kind": "reload",
        "change": change,
        "from_generation": 1,
        "to_generation": 2,
        "requested_by": "SIGHUP",
        "differences": ({"key": "level", "old": "info", "new": "debug"},),
        **fields,
    }
    return Notice(**given)


@dataclass
class Box:
    """A sink that keeps what it is sent, when `open` is set; `troubles` are raised first."""

    name: str = "box"
    retries: Retries = SOON
    troubles: list[BaseException] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)
    taken: queue.Queue[Notice] = field(default_factory=queue.Queue)
    attempts: int = 0

    def send(self, notice: Notice) -> None:
        self.busy.set()
        self.attempts += 1
        assert self.open.wait(PATIENCE_S)
        if self.troubles:
            raise self.troubles.pop(0)
        self.taken.put(notice)

    def take(self) -> Notice:
        return self.taken.get(timeout=PATIENCE_S)


def opened(*troubles: BaseException, **fields: Any) -> Box:
    box = Box(troubles=list(troubles), **fields)
    box.open.set()
    return box


__all__ = ["PATIENCE_S", "SOON", "Box", "SinkFailed", "notice", "opened"]
