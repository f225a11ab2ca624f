"""Notices in the program's log."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from hitless.change import Difference
from hitless.notify.notice import Notice, Phase
from hitless.notify.sink import ONCE, Retries


@dataclass(frozen=True, slots=True)
class LogSink:
    logger: str = "hitless.notices"

    @property
    def name(self) -> str:
        return f"log {self.logger}"

    @property
    def retries(self) -> Retries:
        return ONCE

    def send(self, notice: Notice) -> None:
        level = logging.WARNING if notice.phase is Phase.ERROR else logging.INFO
        logging.getLogger(self.logger).log(
            level,
            "%s %s change=%s requested_by=%r%s%s",
            notice.service,
            notice.event_type,
            notice.change,
            notice.requested_by,
            f" status={notice.status} message={notice.message!r}" if notice.status else "",
            f" differences={_shown(notice)!r}" if notice.differences else "",
        )


def _shown(notice: Notice) -> str:
    found = [each for each in notice.differences if isinstance(each, dict)]
    return "; ".join(str(Difference(str(each["key"]), each["old"], each["new"])) for each in found)
