"""`log://?level=info`: one log line per sample, by the logger `hitless.samples`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from hitless.agent.event import Event
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample

log = logging.getLogger("hitless.samples")


class LogOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning"] = "info"


class LogPublisher:
    def __init__(self, url: PublisherUrl) -> None:
        if url.host or url.path:
            raise ValueError("expected log:// without host and path")
        self._level: Final = logging.getLevelNamesMapping()[url.options(LogOptions).level.upper()]

    def open(self) -> None:
        """Logging is there always."""

    def publish(self, samples: Sequence[Sample]) -> None:
        for each in samples:
            log.log(
                self._level, "sample %s=%g%s resource=%s", each.name, each.volume, each.unit, each.resource
            )

    def publish_events(self, events: Sequence[Event]) -> None:
        for each in events:
            log.log(self._level, "event %s id=%s", each.type, each.id)

    def close(self) -> None:
        """The log stays open: it is the program's."""
