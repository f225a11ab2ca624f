"""One response on its way to a connection: its framing, and whether the connection outlives it.

Used by the ASGI and the WSGI side alike; always on the event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hitless.serve.http.block import UNKNOWN, FieldBlock, Fields, field_block, known_block
from hitless.serve.http.states import State

if TYPE_CHECKING:
    from hitless.serve.http.connection import Connection

ANSWERING: Final = State.ANSWERING
COALESCE: Final = 65536
"""Bodies up to this many bytes are copied behind their head, into one write."""
BODILESS: Final = frozenset((204, 304))
"""Statuses whose responses have no body (RFC 9112, 6.3)."""


class Response:
    """Framing of one response.

    Attributes:
        connection: where it goes.
        method, target, version, fields, marked: of the request, as the reader found them.
        keep: the connection outlives this response, as far as is known.
        began: when the request was read, on the monotonic clock; noted for the access log only.
        since: the same on the engine's coarse clock.
        begun: the head was written (or at least handed to the transport).
        complete: nothing more will be written.
        gone: the client is not there any more; what is written goes nowhere.
        left: bytes of a declared Content-Length still to be written, or UNKNOWN.
        awaits_continue: the client holds its body back until it is told to go on.
        event_stream: the application said that this is a stream of server-sent events.
        is_told_to_end: a draining worker has asked this stream to end.
        news: somebody waits to hear about the client.
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
        "is_told_to_end",
        "keep",
        "left",
        "marked",
        "method",
        "news",
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
        self.awaits_continue = False
        self.is_told_to_end = False
        self.begun = False
        self.complete = False
        self.gone = False
        self.chunked = False
        self.event_stream = False
        self.status = 0
        self.written = 0
        self.left = UNKNOWN
        self.began = 0.0
        self.since = connection.engine.now
        self.news: asyncio.Event | None = None
        self._request_id = ""

    # Writing.

    def begin(self, status: int, fields: Fields, body: bytes, *, more: bool) -> None:
        """Write the head and the first piece of the body.

        Raises:
            ValueError: a field cannot be sent.
            RuntimeError: the body is longer or (without `more`) shorter than its Content-Length.
        """
        try:
            block = known_block(tuple(fields))
        except TypeError:  # unhashable: the fields are lists, which the specification allows
            block = field_block(fields)
        connection = self.connection
        size = len(body)
        if (
            more
            or size != block.length
            or size > COALESCE
            or not (self.keep and block.is_plain)
            or self.marked is not None
            or self.version != "1.1"
            or self.method == "HEAD"
            or status in BODILESS
            or connection.last
            or connection.state is not ANSWERING
            or connection.half_closed
        ):
            self._begin_unusually(status, block, body, more)
            return
        # The usual case: everything at once, of the declared length, on a connection that goes on.
        heads = connection.engine.heads
        data = (heads.prefixes.get(status) or heads.prefix(status)) + block.sealed + body
        self.begun = True
        self.status = status
        self.written = size
        if not self.gone:
            connection.transport.write(data)
        self._done()

    def _begin_unusually(self, status: int, block: FieldBlock, body: bytes, more: bool) -> None:
        size = len(body)
        head = self._head(status, block, size, more)
        if not self._has_body(status):
            body, size = b"", 0
        elif self.left >= 0:
            self._spend(size, more)
        if self.chunked:
            body = self._chunk(body, size, more)
        parts: tuple[bytes, ...] = (head + body,) if size <= COALESCE else (head, body)
        self.begun = True
        self.status = status
        self.written = size
        self.event_stream = block.is_event_stream
        if not self.gone:
            for part in parts:
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
        if self.news is not None:
            self.wake()

    def wake(self) -> None:
        """Whoever waits for news gets to look."""
        if self.news is not None:
            self.news.set()
            self.news = None

    def _has_body(self, status: int) -> bool:
        return self.method != "HEAD" and status not in BODILESS

    # The head.

    def _head(self, status: int, block: FieldBlock, size: int, more: bool) -> bytes:
        heads = self.connection.engine.heads
        if status == 204 and block.length != UNKNOWN:
            # "MUST NOT send a Content-Length header field in any response with a status code of 204" (RFC
            # 9110, 8.6)
            lines = block.lines.splitlines(keepends=True)
            kept = b"".join(line for line in lines if not line.startswith(b"content-length:"))
        else:
            kept = block.lines
            self.left = block.length
        if block.closes:
            self.keep = False
        prefix = heads.bare(status, block.has) if block.has else heads.prefix(status)
        return prefix + kept + self._framing(status, size, more) + self._echo(block) + b"\r\n"

    def _framing(self, status: int, size: int, more: bool) -> bytes:
        """The fields that say how the body ends, and whether the connection goes on."""
        framing = b""
        if self.left == UNKNOWN and status not in BODILESS:
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
        return framing

    def _echo(self, block: FieldBlock) -> bytes:
        """The client's X-Request-ID, unless the application has set one."""
        if self.marked is None or b"x-request-id" in block.has:
            return b""
        given = sane_id(self.marked.get(b"x-request-id", b""))
        return b"x-request-id: " + given + b"\r\n" if given else b""

    @property
    def request_id(self) -> str:
        """The client's X-Request-ID if it is sane, else one of ours."""
        if not self._request_id:
            given = sane_id(self.marked.get(b"x-request-id", b"")) if self.marked is not None else b""
            self._request_id = given.decode() if given else self.connection.engine.new_id()
        return self._request_id


def sane_id(given: bytes) -> bytes:
    """A client's X-Request-ID if it may stand in logs and responses (1 to 128 visible characters), else
    b"".
    """
    is_sane = len(given) <= 128 and all(0x20 < char < 0x7F for char in given)
    return given if is_sane else b""
