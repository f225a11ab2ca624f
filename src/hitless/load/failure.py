"""The ways in which a server fails a request, and the ways in which it closes a connection."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """How one request failed. Every attempt that is not answered as expected has exactly one."""

    REFUSED = "refused"
    """No connection could be opened."""
    RESET = "reset"
    """A fresh connection was closed, by RST or EOF, before any byte of its first response."""
    STALE = "stale"
    """A re-used connection was closed before any byte of the response: the server had closed it as idle."""
    CUT = "cut"
    """The connection was closed in the middle of the response."""
    TIMED_OUT = "timed_out"
    """No complete response within the deadline, connecting included."""
    BAD_STATUS = "bad_status"
    """A complete response with a status that the request did not expect."""
    WRONG_BODY = "wrong_body"
    """A complete response with the right status and the wrong content."""
    GARBLED = "garbled"
    """What came back is not HTTP/1.1."""


class ServerClose(StrEnum):
    """Why a connection that the server closed was closed; at most one per connection."""

    POLITE = "polite"
    """The response said so: ``Connection: close``, or a body that ends with the connection."""
    IDLE = "idle"
    """Closed while no request was outstanding, and noticed before the next one was sent."""
    FAILED = "failed"
    """Closed under a request, which is counted as reset, stale or cut."""


class How(StrEnum):
    """What the kernel said when the connection ended."""

    EOF = "eof"
    RST = "rst"
    NONE = ""


class LoadError(Exception):
    """The load itself cannot go on, e.g. no descriptors are left on the client's side; no statement about the
    server."""


class RequestFailed(Exception):
    """One request failed; caught by the client that sent it, and counted."""

    def __init__(self, failure: Failure, how: How = How.NONE, detail: str = "") -> None:
        super().__init__(detail or failure.value)
        self.failure = failure
        self.how = how
        self.detail = detail
