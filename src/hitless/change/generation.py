"""The states of a generation: everything that decides where one may go is in this file.

    PREPARING ──► READY ──► SERVING ──► DRAINING ──► PAUSED ──► GONE
                                 ▲          │           │
                                 └── undo ──┘           └── rollback: PREPARING

A generation is an immutable, numbered version of the running thing. It is built beside the one that serves,
becomes ready, serves, drains when its successor has taken over, and may then be kept paused so that a
rollback is quick. From every state it may be gone at once: processes die.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from hitless.change.deadline import Clock


class State(StrEnum):
    PREPARING = "preparing"
    READY = "ready"
    SERVING = "serving"
    DRAINING = "draining"
    PAUSED = "paused"
    """Takes no work and has none, but is kept: a rollback starts from here."""
    GONE = "gone"


MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.PREPARING: frozenset({State.READY, State.GONE}),
    State.READY: frozenset({State.SERVING, State.GONE}),
    State.SERVING: frozenset({State.DRAINING, State.GONE}),
    # Back to SERVING when the commit that sent it away is undone; to PREPARING when a rollback does not wait.
    State.DRAINING: frozenset({State.SERVING, State.PREPARING, State.PAUSED, State.GONE}),
    State.PAUSED: frozenset({State.PREPARING, State.GONE}),
    State.GONE: frozenset(),
}


class IllegalMove(Exception):
    """A generation was told to go where the table does not lead: a bug of the caller, never of the operator."""


class Generation:
    """One numbered generation and the state that it is in. Owned by one task; everything else only looks."""

    __slots__ = ("_clock", "_since", "_state", "number")

    def __init__(self, number: int, *, state: State = State.PREPARING, clock: Clock = time.time) -> None:
        self.number: Final = number
        self._clock: Final = clock
        self._state = state
        self._since = clock()

    @property
    def state(self) -> State:
        return self._state

    @property
    def since(self) -> float:
        """When it came into this state (Unix time)."""
        return self._since

    def move(self, to: State) -> None:
        """Go to the state `to`.

        Raises:
            IllegalMove: the table has no such move; the state is as it was.
        """
        if to not in MOVES[self._state]:
            raise IllegalMove(f"generation {self.number} is {self._state} and cannot become {to}")
        self._state = to
        self._since = self._clock()

    def __repr__(self) -> str:
        return f"<generation {self.number} {self._state}>"
