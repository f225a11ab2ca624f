"""What a hostile case is: bytes, what the RFC wants of a server that gets them, and what ours answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

CANARY: Final = b"GET /canary HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n"
"""Sent behind every case. After an error it must not reach the application: where the framing is in doubt
every byte that follows is.
"""
CANARY_SEEN: Final = "GET /canary"


@dataclass(frozen=True, slots=True)
class Case:
    """One stream of bytes to a fresh connection.

    `raw` is sent, then the canary unless `half_closes` (then the client shuts its sending side down).
    `section` is where the RFC says what is wanted; 9110 and 9112 unless another number stands there.
    """

    name: str
    raw: bytes
    section: str
    answers: tuple[int, ...]
    """Statuses of our responses, the canary's not among them."""
    seen: tuple[str, ...] = ()
    """Requests that reach the application complete: `METHOD target body`, the canary not among them."""
    begun: tuple[str, ...] = ()
    """Requests that may reach the application without ever being complete: their body turned out malformed."""
    goes_on: bool = False
    """Whether the canary is served."""
    half_closes: bool = False
    hides: tuple[str, ...] = ()
    """Fields (lower case) that must not reach the application."""
    shows: tuple[tuple[str, str], ...] = ()
    """Fields that reach the application, so spelled."""

    @property
    def stream(self) -> bytes:
        return self.raw if self.half_closes else self.raw + CANARY

    @property
    def all_answers(self) -> tuple[int, ...]:
        return (*self.answers, 200) if self.goes_on else self.answers

    @property
    def all_seen(self) -> tuple[str, ...]:
        return (*self.seen, CANARY_SEEN) if self.goes_on else self.seen


def refused(name: str, raw: bytes, section: str, status: int = 400, *, after: tuple[str, ...] = ()) -> Case:
    """The last request in `raw` is answered with an error; those `after` which it comes are served."""
    return Case(name, raw, section, (*[200] * len(after), status), after)


def served(name: str, raw: bytes, section: str, *seen: str) -> Case:
    """All of `raw` is served, and the connection goes on."""
    return Case(name, raw, section, (200,) * len(seen), seen, goes_on=True)


def last(name: str, raw: bytes, section: str, *seen: str) -> Case:
    """All of `raw` is served, and the connection ends."""
    return Case(name, raw, section, (200,) * len(seen), seen)


def dropped(name: str, raw: bytes, section: str, *seen: str) -> Case:
    """After what is served the connection ends without a word."""
    return Case(name, raw, section, (200,) * len(seen), seen)


def half_closed(case: Case) -> Case:
    """The same, but the client ends its sending side instead of sending a canary."""
    return replace(case, half_closes=True, goes_on=False)
