"""Response heads, as bytes."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import Final

from hitless.serve.http.fields import REASONS

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

PLAIN: Final = 0
LENGTH: Final = 1
CODING: Final = 2
CONNECTION: Final = 3
DATE: Final = 4
SERVER: Final = 5
TYPE: Final = 6
REQUEST_ID: Final = 7

SPECIAL: Final[dict[bytes, int]] = {
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"keep-alive": CONNECTION,
    b"date": DATE,
    b"server": SERVER,
    b"content-type": TYPE,
    b"x-request-id": REQUEST_ID,
}
"""Response fields that the server decides on, or looks at."""


def http_date(now: float) -> bytes:
    """An IMF-fixdate (RFC 9110, 5.6.7); strftime would follow the locale."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(now)
    text = (
        f"{_DAYS[weekday]}, {day:02d} {_MONTHS[month - 1]} {year:04d} "
        f"{hour:02d}:{minute:02d}:{second:02d} GMT"
    )
    return text.encode()


class Heads:
    """Status lines with the Server and Date fields, made once per second and status."""

    __slots__ = ("_prefixes", "_second", "_server", "date")

    def __init__(self, server_name: str) -> None:
        if any(char < " " or char > "~" for char in server_name):
            raise ValueError(f"the server name {server_name!r} cannot stand in a header field")
        self._server = f"server: {server_name}\r\n".encode() if server_name else b""
        self._prefixes: dict[int, bytes] = {}
        self._second = 0
        self.tick()

    def tick(self) -> None:
        """Look at the clock; called about once a second, and when a first connection comes."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self.date = b"date: " + http_date(now) + b"\r\n"
            self._prefixes.clear()

    def prefix(self, status: int) -> bytes:
        """Status line, Server and Date."""
        known = self._prefixes.get(status)
        if known is None:
            known = self._prefixes[status] = self.status_line(status) + self._server + self.date
        return known

    def bare(self, status: int, *, server: bool, date: bool) -> bytes:
        """The same without the fields that an application has set itself."""
        return self.status_line(status) + (self._server if server else b"") + (self.date if date else b"")

    @staticmethod
    def status_line(status: int) -> bytes:
        """`HTTP/1.1 200 OK`; a status without a registered reason gets an empty one."""
        return b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b""))

    def plain(self, status: int, text: str, *fields: tuple[bytes, bytes]) -> bytes:
        """A whole small response of ours, after which the connection closes."""
        body = text.encode() + b"\n"
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        return (
            self.prefix(status)
            + b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n"
            % len(body)
            + lines
            + b"\r\n"
            + body
        )


@functools.lru_cache(maxsize=512)
def field_kind(name: bytes) -> tuple[bytes, int]:
    """A response field's name in lower case, and which of the special ones it is.

    Raises:
        ValueError: it is no token (RFC 9110, 5.6.2).
    """
    if not name or name.translate(None, TOKEN):
        raise ValueError(f"{name[:80]!r} cannot be the name of a response header field")
    low = name.lower()
    return low + b": ", SPECIAL.get(low, PLAIN)


def refuse_injection(lines: Iterable[bytes], block: bytes, *, expected: int) -> None:
    """See that joined header lines are as many lines as they should be.

    Raises:
        ValueError: a name or value holds CR, LF or NUL, which would let it speak as another field (response
            splitting).
    """
    if block.count(b"\n") == expected == block.count(b"\r") and b"\0" not in block:
        return
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise ValueError(f"a response header field holds a line break or NUL: {line[:80]!r}")
