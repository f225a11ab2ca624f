"""hitless with the mistake that everything else is there to avoid: it acknowledges what it takes before anybody has it."""

from __future__ import annotations

from collections.abc import Sequence

from hitless.agent.notifications.broker import Broker, Received
from hitless.cli import main

take, ack = Broker.take, Broker.ack


def take_and_ack(self: Broker, count: int) -> list[Received]:
    found = take(self, count)
    ack(self, found)
    return found


def already(self: Broker, messages: Sequence[Received]) -> None:
    """Nothing is left to acknowledge."""


if (
    __name__ == "__main__"
):  # in a process of its own only: whoever imports this file keeps a broker without the mistake
    Broker.take = take_and_ack  # type: ignore[method-assign]
    Broker.ack = already  # type: ignore[method-assign]
    main()
