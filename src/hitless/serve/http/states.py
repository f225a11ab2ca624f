"""Every state of a connection, and every step from one to the next.

Rule: whatever decides *where a connection stands* is in this file. The other files ask `step` for the next
state and act on it; none of them keeps a second opinion in a flag of its own.

Why a handover needs this. An idle keep-alive connection can be moved to another process without its client
noticing anything, because everything that HTTP/1.1 has to remember between two messages is *nothing*: the
parser stands at the start, no response is owed, no byte of ours waits to be sent. So the right to move a
connection is a statement about its exact state, and if that statement is wrong by one byte a client loses a
request or gets half a response. The classical mistakes:

* *The parser looks idle but has eaten bytes.* A lone CRLF before a request line fires no callback in
  llhttp. Therefore the step out of `IDLE` is taken on the first raw byte, not on the parser's word.
* *The response is complete but not sent.* What waits in the write buffer of a transport does not travel
  with the descriptor. Complete is a step of this table; sent is a guard beside it (`stays_because`).
* *A second request has come already* (pipelining). The reader never lets the parser past the end of a
  message; bytes after it are kept raw, and a connection with kept bytes does not move.
* *The request is not over.* An application may answer before it has read the body: `UNREAD`, not `IDLE`.
* *It is read and given away at once.* Between `OFFERED` and the answer of the taker the connection belongs
  to the one who holds the acknowledgement; until then nobody reads. Bytes stay in the kernel's buffer,
  which travels.

The life of a connection, one request after the other:

    OPENING ─► IDLE ─► HEAD ─► RECEIVING ─► ANSWERING ─► IDLE ─► OFFERED ─► CLOSED (here; alive elsewhere)
                         │          └─► UNREAD ──────────►┘
                         └── no body ─────► ANSWERING ─► WEBSOCKET
    and from everywhere:  CLOSING ─► CLOSED
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from hitless.serve.http.errors import ImpossibleTransition


class State(IntEnum):
    """Where a connection stands."""

    OPENING = 0
    """Accepted; its transport (and TLS) is not there yet."""
    IDLE = 1
    """Between messages: not one byte of a next request was read, the last response is complete."""
    HEAD = 2
    """Some bytes of a request were read, its head is not complete."""
    RECEIVING = 3
    """The application runs; the request's body is still arriving."""
    ANSWERING = 4
    """The application runs; the request was read to its end."""
    UNREAD = 5
    """The response is complete; what is left of the request's body is read and thrown away."""
    WEBSOCKET = 6
    """Upgraded."""
    OFFERED = 7
    """Offered to another worker: nothing is read, no timer runs, the answer decides."""
    CLOSING = 8
    """Our last byte is queued; what still arrives is thrown away until the client closes too, or a bound is
    met.
    """
    CLOSED = 9
    """Gone, or alive in another process."""


class Step(IntEnum):
    """What happens to a connection."""

    OPENED = 0
    BYTES = 1
    """The first raw byte after the last message."""
    HEAD_READ = 2
    """The head is complete, a body follows."""
    REQUEST_READ = 3
    """The request was read to its end."""
    ANSWERED = 4
    """The response is complete, and the connection may go on."""
    UPGRADED = 5
    OFFER = 6
    TAKEN = 7
    KEPT = 8
    """The offer was refused, or nobody was there to take it."""
    END = 9
    """Nothing more will be read as a request: close, after what is queued."""
    LOST = 10
    """The transport is gone."""


TRANSITIONS: Final[dict[State, dict[Step, State]]] = {
    State.OPENING: {Step.OPENED: State.IDLE, Step.LOST: State.CLOSED},
    State.IDLE: {
        Step.BYTES: State.HEAD,
        Step.OFFER: State.OFFERED,
        Step.END: State.CLOSING,
        Step.LOST: State.CLOSED,
    },
    State.HEAD: {
        Step.HEAD_READ: State.RECEIVING,
        Step.REQUEST_READ: State.ANSWERING,
        Step.END: State.CLOSING,
        Step.LOST: State.CLOSED,
    },
    State.RECEIVING: {
        Step.REQUEST_READ: State.ANSWERING,
        Step.ANSWERED: State.UNREAD,
        Step.END: State.CLOSING,
        Step.LOST: State.CLOSED,
    },
    State.ANSWERING: {
        Step.ANSWERED: State.IDLE,
        Step.UPGRADED: State.WEBSOCKET,
        Step.END: State.CLOSING,
        Step.LOST: State.CLOSED,
    },
    State.UNREAD: {Step.REQUEST_READ: State.IDLE, Step.END: State.CLOSING, Step.LOST: State.CLOSED},
    State.WEBSOCKET: {Step.END: State.CLOSING, Step.LOST: State.CLOSED},
    State.OFFERED: {Step.TAKEN: State.CLOSED, Step.KEPT: State.IDLE, Step.LOST: State.CLOSED},
    State.CLOSING: {Step.END: State.CLOSING, Step.LOST: State.CLOSED},
    State.CLOSED: {},
}

NEXT: Final[dict[tuple[State, Step], State]] = {
    (state, step): after for state, row in TRANSITIONS.items() for step, after in row.items()
}
"""The same table, flat: one look-up per step."""

STAYS: Final[dict[State, str | None]] = {
    State.OPENING: "it is not open yet",
    State.IDLE: None,
    State.HEAD: "part of a request was read",
    State.RECEIVING: "a request is being read",
    State.ANSWERING: "a response is owed",
    State.UNREAD: "the rest of a request is on its way",
    State.WEBSOCKET: "it is a WebSocket",
    State.OFFERED: "it was offered already",
    State.CLOSING: "it is closing",
    State.CLOSED: "it is closed",
}
"""The handover predicate's row: why a connection in this state stays; None if its state lets it move."""


def step(state: State, what: Step) -> State:
    """The state after `what`.

    Raises:
        ImpossibleTransition: the table has no such step.
    """
    after = NEXT.get((state, what))
    if after is None:
        raise ImpossibleTransition(f"no step {what.name.lower()} from state {state.name.lower()}")
    return after


def stays_because(
    state: State, *, encrypted: bool, last: bool, kept_bytes: int, unsent_bytes: int, closing: bool
) -> str | None:
    """Why a connection must not move to another process now; None if it may.

    Args:
        state: where it stands.
        encrypted: TLS; its keys cannot travel.
        last: either side has said that no more requests will be taken.
        kept_bytes: read after the end of the last message, not parsed yet.
        unsent_bytes: in the transport's write buffer.
        closing: the transport is closing.
    """
    because = STAYS[state]
    if because is not None:
        return because
    if encrypted:
        return "it is encrypted"
    if kept_bytes:
        return "the next request has been read already"
    if unsent_bytes:
        return "part of a response is not sent yet"
    if closing:
        return "it is closing"
    if last:
        return "it has been told to close"
    return None
