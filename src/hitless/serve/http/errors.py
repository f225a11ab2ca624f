"""The engine's errors."""

from __future__ import annotations


class HttpError(Exception):
    """Base of the engine's errors."""


class StartupFailed(HttpError):
    """The application said in its lifespan that it cannot start; the message is its own."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ImpossibleTransition(HttpError):
    """A connection was asked for a step that its state does not know: a bug in the engine."""


class RequestRefused(HttpError):
    """A request that gets an error reply of ours, after which its connection closes."""

    def __init__(self, status: int, why: str, *fields: tuple[bytes, bytes]) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.fields = fields


class ClientGone(HttpError, OSError):
    """The client closed the connection before it had the whole response."""
