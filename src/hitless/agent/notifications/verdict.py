"""What becomes of a message that was taken."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from hitless.agent.notifications.broker import Outgoing, Received

DETAIL_LENGTH: Final = 1000


class Reason(Enum):
    """Why a message is put aside; the value stands in its headers."""

    UNPARSABLE = "unparsable"
    ENDPOINT_FAILED = "endpoint-failed"
    ENDPOINT_HANGS = "endpoint-hangs"
    NOT_TAKEN = "not-taken"


@dataclass(frozen=True, slots=True)
class Dead:
    """Nothing can be made of it: it goes to the dead-letter queue."""

    reason: Reason
    detail: str
    attempts: int = 1


Verdict: TypeAlias = Dead | None
"""None: the publishers have what it gave; it is acknowledged."""


class Take(Protocol):
    """Called on the event loop, for one batch after the other. Ends when the publishers have taken what the batch gave."""

    def __call__(self, batch: Sequence[Received]) -> Coroutine[Any, Any, Sequence[Verdict]]: ...


def dead_letter(message: Received, dead: Dead, queue: str) -> Outgoing:
    """The message as it was, with the reason in its headers."""
    headers = {
        "x-hitless-reason": dead.reason.value,
        "x-hitless-detail": dead.detail[:DETAIL_LENGTH],
        "x-hitless-attempts": dead.attempts,
        "x-hitless-queue": message.queue,
        "x-hitless-exchange": message.exchange,
        "x-hitless-routing-key": message.routing_key,
        "x-hitless-at": round(time.time(), 3),
    }
    return Outgoing.copy_of(message, queue, headers=headers)
