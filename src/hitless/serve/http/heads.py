"""Response heads, as bytes."""

from __future__ import annotations

import time
from typing import Final

from hitless.serve.http.fields import REASONS

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


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

    __slots__ = ("_second", "_server", "date", "prefixes")

    def __init__(self, server_name: str) -> None:
        if any(char < " " or char > "~" for char in server_name):
            raise ValueError(f"the server name {server_name!r} cannot stand in a header field")
        self._server = f"server: {server_name}\r\n".encode() if server_name else b""
        self.prefixes: dict[int, bytes] = {}
        self._second = 0
        self.tick()

    def tick(self) -> None:
        """Look at the clock; called about once a second, and when a first connection comes."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self.date = b"date: " + http_date(now) + b"\r\n"
            self.prefixes.clear()

    def prefix(self, status: int) -> bytes:
        """Status line, Server and Date."""
        known = self.prefixes.get(status)
        if known is None:
            known = self.prefixes[status] = self.status_line(status) + self._server + self.date
        return known

    def bare(self, status: int, has: frozenset[bytes]) -> bytes:
        """The same without the fields that an application has set itself."""
        server = b"" if b"server" in has else self._server
        date = b"" if b"date" in has else self.date
        return self.status_line(status) + server + date

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
