"""Plug-ins for agents that a test starts: a pollster that counts, a publisher that refuses, hangs or kills in one member."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import Any

from hitless.agent.polling.pollster import Poll, pollster
from hitless.agent.sample import Sample


@pollster()
async def one(poll: Poll) -> Iterable[Sample]:
    return [poll.sample(1.0, unit="x", resource=each) for each in poll.resources]


class Odd:
    """`odd://WHAT?who=MEMBER`"""

    def __init__(self, url: Any) -> None:
        self.what = url.text.partition("//")[2].partition("?")[0]
        self.is_me = url.text.rpartition("=")[2] == os.environ.get("GROUP_MEMBER")

    def open(self) -> None:
        if self.is_me and self.what == "refuse":
            raise ConnectionRefusedError("it does not want to")
        if self.is_me and self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.is_me and self.what == "hang":
            time.sleep(3600)

    def publish(self, samples: Sequence[Sample]) -> None:
        pass

    def close(self) -> None:
        pass
