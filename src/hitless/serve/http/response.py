"""One response on its way to a connection: its framing, and whether the connection outlives it.

Used by the ASGI and the WSGI side alike; always on the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hitless.serve.http.heads import (
    CODING,
    CONNECTION,
    DATE,
    LENGTH,
    REQUEST_ID,
    SERVER,
    TYPE,
    field_kind,
    refuse_injection,
)

if TYPE_CHECKING:
    from hitless.serve.http.connection import Connection

UNKNOWN: Final = -1
COALESCE: Final = 65536
"""Bodies up to this many bytes are copied behind their head, into one write."""


class Response:
    """Framing of one response.

    Attributes:
        connection: where it goes.
        method: of the request.
        began: when the request was read, on the monotonic clock; noted for the access log only.
        begun: the head was written (or at least handed to the transport).
        complete: nothing more will be written.
        gone: the client is not there any more; what is written goes nowhere.
        awaits_continue: the client holds its body back until it is told to go on.
        since: when the request was read, on the engine's coarse clock.
        event_stream: the application said that this is a stream of server-sent events.
    """

    __slots__ = (
        "_request_id",
        "awaits_continue",
        "began",
        "begun",
        "chunked",
        "complete",
        "connection",
        "event_stream",
        "fields",
        "gone",
        "keep",
        "left",
        "marked",
        "method",
        "since",
        "status",
        "target",
        "version",
        "written",
    )

    def __init__(self, connection: Connection) -> None:
        reader = connection.reader
        self.connection = connection
        self.method = reader.method
        self.target = reader.target
        self.version = reader.version
        self.fields = reader.fields
        self.marked = reader.marked
        self.keep = reader.keep_alive
        self.awaits_continue = self.begun = self.complete = self.gone = self.chunked = self.event_stream = (
            False
        )
        self.status = 0
        self.left = UNKNOWN
        self.written = 0
        self._request_id = ""
        self.began = 0.0
        self.since = connection.engine.now

    # Writing.

    def begin(self, status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes, *, more: bool) -> None:
        """Write the head and the first piece of the body.

        Raises:
            ValueError: a field cannot be sent.
            RuntimeError: the body is longer or (without `more`) shorter than its Content-Length.
        """
        head = self._head(status, fields, len(body), more)
        size = len(body)
        if size and not self._has_body(status):
            body, size = b"", 0
        elif self.left >= 0 and self._has_body(status):
            self._spend(size, more)
        if self.chunked:
            body = self._chunk(body, size, more)
        data: tuple[bytes, ...] = (head + body,) if size <= COALESCE else (head, body)
        self.begun = True
        self.status = status
        self.written = size
        if not self.gone:
            for part in data:
                self.connection.transport.write(part)
        if not more:
            self._done()

    def go_on(self, body: bytes, *, more: bool) -> None:
        """Write the next piece of the body; without `more` it is the last.

        Raises:
            RuntimeError: the body is longer, or in the end shorter, than its Content-Length.
        """
        size = len(body)
        if not self._has_body(self.status):
            body, size = b"", 0
        elif self.left >= 0:
            self._spend(size, more)
        self.written += size
        if self.chunked:
            body = self._chunk(body, size, more)
        if body and not self.gone:
            self.connection.transport.write(body)
        if not more:
            self._done()

    @staticmethod
    def _chunk(body: bytes, size: int, more: bool) -> bytes:
        if size:
            body = b"%x\r\n%b\r\n" % (size, body)
        return body if more else body + b"0\r\n\r\n"

    def _spend(self, size: int, more: bool) -> None:
        self.left -= size
        if self.left < 0:
            raise RuntimeError("the response's body is longer than its content-length")
        if not more and self.left:
            raise RuntimeError("the response's body is shorter than its content-length")

    def _done(self) -> None:
        self.complete = True
        self.connection.answered(self)

    def _has_body(self, status: int) -> bool:
        return self.method != "HEAD" and status != 304 and status != 204

    # The head.

    def _head(self, status: int, fields: Iterable[tuple[bytes, bytes]], size: int, more: bool) -> bytes:
        heads = self.connection.engine.heads
        lines: list[bytes] = []
        own_date = own_server = own_id = False
        for name, value in fields:
            prefix, special = field_kind(name)
            if special:
                if special == LENGTH:
                    self._declare(value)
                    if status == 204:
                        continue
                elif special == TYPE:
                    self.event_stream = value.startswith(b"text/event-stream")
                elif special == CODING:
                    continue  # framing is ours
                elif special == CONNECTION:
                    if b"close" in value.lower():
                        self.keep = False
                    continue
                elif special == DATE:
                    own_date = True
                elif special == SERVER:
                    own_server = True
                elif special == REQUEST_ID:
                    own_id = True
            lines.append(b"%b%b\r\n" % (prefix, value))
        block = b"".join(lines)
        refuse_injection(lines, block, expected=len(lines))
        prefix = (
            heads.bare(status, server=not own_server, date=not own_date)
            if own_date or own_server
            else heads.prefix(status)
        )
        return prefix + block + self._framing(status, size, more, own_id) + b"\r\n"

    def _declare(self, value: bytes) -> None:
        if not value.isdigit():
            raise ValueError(f"the response's content-length is no number: {value[:80]!r}")
        length = int(value)
        if self.left not in (UNKNOWN, length):
            raise ValueError("the response has two content-lengths")
        self.left = length

    def _framing(self, status: int, size: int, more: bool, own_id: bool) -> bytes:
        """The fields that say how the body ends, and whether the connection goes on."""
        framing = b""
        if self.left == UNKNOWN and status != 204 and status != 304:
            if not more and (size or self.method != "HEAD"):
                framing = b"content-length: %d\r\n" % size
                self.left = size
            elif self.method == "HEAD":
                pass
            elif self.version == "1.1":
                framing = b"transfer-encoding: chunked\r\n"
                self.chunked = True
            else:
                self.keep = False  # HTTP/1.0: the body ends with the connection
        if not self.keep or self.connection.must_close(self, more=more):
            self.keep = False
            framing += b"connection: close\r\n"
        elif self.version == "1.0":
            framing += b"connection: keep-alive\r\n"
        if self.marked is not None and not own_id:
            given = sane_id(self.marked.get(b"x-request-id", b""))
            if given:
                framing += b"x-request-id: " + given + b"\r\n"
        return framing

    @property
    def request_id(self) -> str:
        """The client's X-Request-ID if it is sane, else one of ours."""
        if not self._request_id:
            given = sane_id(self.marked.get(b"x-request-id", b"")) if self.marked is not None else b""
            self._request_id = given.decode() if given else self.connection.engine.new_id()
        return self._request_id


def sane_id(given: bytes) -> bytes:
    """A client's X-Request-ID if it may stand in logs and responses: 1 to 128 visible characters; else
    nothing.
    """
    return (
        given if len(given) <= 128 and given.isascii() and all(0x20 < char < 0x7F for char in given) else b""
    )
