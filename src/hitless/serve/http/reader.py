"""Reads request messages from bytes, exactly one at a time; no sockets here.

llhttp, given a buffer, parses on into the next message. We cannot let it: a response may have to be written
first (and then the connection perhaps moved to another process), and a client could queue ten thousand
requests in one packet. But httptools has no way to stop the parser. So the reader never gives it bytes that
could belong to the next message:

* a head ends with the first CRLFCRLF (llhttp is strict about bare LF), so it is fed up to there;
* a body with Content-Length is fed exactly so many bytes;
* a chunked body also ends with CRLFCRLF, though not every CRLFCRLF ends it: it is fed block by block, each
  up to the next CRLFCRLF, until the parser says that the message is complete.

This counts the framing twice, by the parser and by us. If the two disagree the request is refused: that is
what request smuggling is made of.
"""

from __future__ import annotations

from typing import Final, NoReturn

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from hitless.serve.http.errors import RequestRefused
from hitless.serve.http.fields import AUTHORITY, HOST, LOWER, MARKED, METHODS, ORDINARY
from hitless.serve.http.repeats import LINE, block_of
from hitless.serve.http.repeats import METHODS as PLAIN_METHODS

END: Final = b"\r\n\r\n"
HTTP_1_1: Final = b" HTTP/1.1\r\n"
OVERHEAD: Final = 16
"""A chunked body may spend that many bytes of framing per byte of content, above one head's worth."""


class RequestReader:
    """One connection's reader. Feed it until `complete`, take what it found, `reset` it, feed it what was
    left over.

    Attributes:
        headed: the head is complete; the fields below it are valid.
        complete: the message was read to its end.
        held: bytes of body that were read and not taken yet.
        fields: header fields with lower-case names, in order.
        marked: those of them that the server must act on, or None.
        length: bytes of a Content-Length body still to come.
        keep_alive: the client lets the connection go on.
    """

    __slots__ = (
        "_authority",
        "_body",
        "_content",
        "_good_authority",
        "_hosts",
        "_known_block",
        "_known_fields",
        "_line",
        "_max_body",
        "_max_fields",
        "_max_head",
        "_parser",
        "_raw",
        "_tail",
        "chunked",
        "complete",
        "fields",
        "headed",
        "held",
        "keep_alive",
        "length",
        "marked",
        "method",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self, *, header_bytes: int, headers: int, body_bytes: int | None) -> None:
        self._max_head = header_bytes
        self._max_fields = headers
        self._max_body = body_bytes
        self._parser: HttpRequestParser = HttpRequestParser(self)
        self.method = self.version = ""
        self.keep_alive = False
        self._authority = self._good_authority = b""
        self._known_block = b""
        self._known_fields: list[tuple[bytes, bytes]] = []
        self._forget_marks()
        self.reset()

    def reset(self) -> None:
        """Be ready for the next message."""
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.headed = False
        self.complete = False
        self._raw = 0
        self._hosts = 0
        self._line: bytes | None = b""
        if self.marked is not None:  # else these are as they were
            self._forget_marks()

    def _forget_marks(self) -> None:
        self.marked: dict[bytes, bytes] | None = None
        self.upgrade: bytes | None = None
        self.chunked = False
        self.length = 0
        self._content = 0
        self._tail = b""
        # What the application did not want of this body is not the next request's.
        self._body: list[bytes] = []
        self.held = 0

    def close(self) -> None:
        """Break the cycle of reader and parser."""
        del self._parser

    @property
    def begun(self) -> bool:
        """Whether more than empty lines came."""
        return self.target != b"" or self._raw > len(END)

    def feed(self, data: bytes) -> bytes:
        """Read on, at most to the end of the message; returns the bytes after it.

        Raises:
            RequestRefused: with the status to answer.
        """
        size = len(data)
        if not self.headed and not self._tail:
            block = self._known_block
            if block and not self._raw and data.endswith(block) and self._repeats(data, size - len(block)):
                return b""
            if 0 <= size - 4 == data.find(END):
                self._feed_head(data)
                if self.complete and self.marked is None:
                    self._remember(data)
                return b""
        view = memoryview(data)
        start = 0
        while start < size and not self.complete:
            end = self._block_end(data, start)
            piece = view[start:end]
            if self.headed:
                self._feed_body(piece)
            else:
                self._feed_head(piece)
            start = end
        return data[start:] if start else data

    def _repeats(self, data: bytes, end: int) -> bool:
        """Take a message whose fields are those of the one before (see `repeats`), if its line is plain."""
        line = LINE.fullmatch(data, 0, end)
        if line is None or len(data) > self._max_head:
            return False
        method, self.target = line.groups()
        self.method = PLAIN_METHODS[method]
        self.version = "1.1"
        self.keep_alive = True
        self.fields = self._known_fields.copy()
        self.headed = self.complete = True
        return True

    def _remember(self, data: bytes) -> None:
        if self.version == "1.1" and self.keep_alive and LINE.match(data) is not None:
            self._known_block = block_of(data)
            self._known_fields = self.fields.copy()

    def take(self) -> bytes:
        """The body as far as it has come and was not taken before."""
        body = self._body
        if not body:
            return b""
        taken = body[0] if len(body) == 1 else b"".join(body)
        self._body = []
        self.held = 0
        return taken

    def _block_end(self, data: bytes, start: int) -> int:
        """Where to stop feeding: after the next CRLFCRLF (which may have begun in what was fed before), or
        the body's end.
        """
        if self.headed and not self.chunked:
            return min(len(data), start + self.length)
        tail = self._tail
        if tail:
            at = (tail + data[start : start + 3]).find(END)
            if at >= 0:
                self._tail = b""
                return start + at + 4 - len(tail)
        at = data.find(END, start)
        if at >= 0:
            self._tail = b""
            return at + 4
        end = (tail + data[max(start, len(data) - 3) :])[-3:]
        self._tail = end if end[-1] in END else b""
        return len(data)

    def _feed_head(self, data: bytes | memoryview) -> None:
        self._raw += len(data)
        if self._raw > self._max_head:
            self._refuse_length(bytes(data)[: self._max_head - self._raw])
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            # The parser is past the head and believes that what follows is no HTTP; `_check_upgrade` decides.
            pass
        except HttpParserError as error:
            raise refusal_of(error) from error
        if self.headed and self._raw == len(data):
            # All of the head is here; where its version stands needs no search.
            at = len(self.method) + len(self.target) + 1
            if data[at : at + len(HTTP_1_1)] == HTTP_1_1:
                self.version = "1.1"
                self._check_head()
                return
        if self._line is not None:
            self._watch_line(data)
        if self.headed:
            self.version = self._parser.get_http_version()
            self._check_head()

    def _refuse_length(self, allowed: bytes) -> NoReturn:
        """RFC 9112, 3: a request line that is too long by itself is a 414."""
        line = b"\r\n" if self._line is None else (self._line + allowed).lstrip(b"\r\n")
        if line and b"\r\n" not in line:
            raise RequestRefused(414, "the request's target is too long")
        raise RequestRefused(431, "the request's head is too long")

    def _watch_line(self, data: bytes | memoryview) -> None:
        """See that the request line ends with HTTP's name: the parser takes RTSP's as well, and does not
        tell. What is over of a line cut in two is kept as far as it matters.
        """
        assert self._line is not None
        line = (self._line + data).lstrip(b"\r\n")
        end = line.find(b"\r\n")
        self._line = line[-len(b" RTSP/1.0\r") :] if end < 0 else None
        if end >= 0 and line[:end].endswith((b" RTSP/1.0", b" RTSP/1.1")):
            raise RequestRefused(400, "only HTTP is spoken here")

    def _feed_body(self, data: memoryview) -> None:
        before = self._content
        self._raw += len(data)
        self._parse(data)
        if not self.chunked:
            self.length -= len(data)
            if self._content - before != len(data) or self.complete is not (self.length == 0):
                raise RequestRefused(400, "the body does not have its length")
        elif self._max_body is not None and self._content > self._max_body:
            raise RequestRefused(413, "the request's body is too long")
        elif self._raw > self._max_head * 2 + self._content * OVERHEAD:
            raise RequestRefused(400, "the body consists of framing")

    def _parse(self, data: memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise refusal_of(error) from error

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self.target = self.target + url if self.target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headed:
            return  # a trailer: it must not change how the message was understood
        low = LOWER.get(name)
        if low is None:
            low = name.lower()
            if low in MARKED:
                self._mark(low, value)
            elif low == HOST:
                self._hosts += 1
                self._authority = value
        elif low is HOST:
            self._hosts += 1
            self._authority = value
        self.fields.append((low, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        method = parser.get_method()
        self.method = METHODS.get(method) or method.decode("ascii")
        self.keep_alive = parser.should_keep_alive()
        self.headed = True

    def on_body(self, data: bytes) -> None:
        self._content += len(data)
        self.held += len(data)
        self._body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    # What we make of it.

    def _mark(self, name: bytes, value: bytes) -> None:
        if self.marked is None:
            self.marked = {}
        value = value.strip(b" \t")
        earlier = self.marked.get(name)
        self.marked[name] = value if earlier is None else earlier + b", " + value

    def _check_head(self) -> None:
        """Refuse what a parser lets through and a server must not."""
        if len(self.fields) > self._max_fields:
            raise RequestRefused(431, "too many header fields")
        if self.version == "1.1":
            if self._hosts != 1:
                raise RequestRefused(400, "a request needs exactly one Host")
        elif self.version != "1.0":
            raise RequestRefused(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
        else:
            self._check_http_1_0()
        if self._authority != self._good_authority:
            self._check_authority()
        if self.target[0] != 0x2F or b"#" in self.target or self.method not in ORDINARY:
            self._check_target()
        if self.marked is not None:
            self._check_framing(self.marked)

    def _check_http_1_0(self) -> None:
        if self._hosts > 1:
            raise RequestRefused(400, "a request has at most one Host")
        # The parser lets keep-alive win over close; close wins (RFC 9112, 9.3).
        options = b",".join(value.lower() for name, value in self.fields if name == b"connection")
        if b"close" in [option.strip(b" \t") for option in options.split(b",")]:
            self.keep_alive = False

    def _check_authority(self) -> None:
        """A Host that is none: "MUST respond with a 400" (RFC 9112, 3.2)."""
        if not AUTHORITY.fullmatch(self._authority.strip(b" \t")):
            raise RequestRefused(400, "malformed Host")
        self._good_authority = self._authority

    def _check_target(self) -> None:
        """Methods out of the ordinary, and targets that do not begin with a slash (RFC 9112, 3.2)."""
        if self.method == "CONNECT":
            raise RequestRefused(501, "this is not a proxy")
        if self.method == "SOURCE":
            raise RequestRefused(400, "unknown method")  # Icecast's; the parser takes it
        if b"#" in self.target:
            raise RequestRefused(400, "a request target has no fragment")
        if self.target[0] == 0x2F:
            return
        if self.target == b"*" and self.method == "OPTIONS":
            return
        scheme, found, rest = self.target.partition(b"://")
        if not found or scheme.lower() not in (b"http", b"https"):
            raise RequestRefused(400, "malformed request target")
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        authority, path = rest[:end], rest[end:]
        if authority[:1] in (b"", b":") or not AUTHORITY.fullmatch(authority):
            raise RequestRefused(400, "malformed request target")
        self.target = path if path[:1] == b"/" else b"/" + path
        # "MUST ignore the received Host header field (if any) and instead replace it" (RFC 9112, 3.2.2).
        self.fields = [(HOST, authority), *(field for field in self.fields if field[0] != HOST)]

    def _check_framing(self, marked: dict[bytes, bytes]) -> None:
        coding = marked.get(b"transfer-encoding")
        if coding is not None:
            if self.version == "1.0":
                raise RequestRefused(400, "HTTP/1.0 has no Transfer-Encoding")
            if coding.lower() != b"chunked":
                status = 501 if coding.lower().split(b",")[-1].strip() == b"chunked" else 400
                raise RequestRefused(status, "the only transfer coding spoken here is chunked")
            self.chunked = True
        else:
            self.length = int(marked.get(b"content-length", b"0"))
            if self._max_body is not None and self.length > self._max_body:
                raise RequestRefused(413, "the request's body is too long")
        upgrade = marked.get(b"upgrade")
        if upgrade is not None and self._parser.should_upgrade():
            self._check_upgrade(upgrade)
        elif self.complete is not (not self.chunked and self.length == 0):
            raise RequestRefused(400, "the body's length is unclear")

    def _check_upgrade(self, upgrade: bytes) -> None:
        """Go on as if the field were not there, unless it asks for a WebSocket.

        RFC 9110, 7.8: a server may ignore Upgrade. Java's and curl's clients send `h2c` with requests that
        have bodies. The parser has left HTTP by now and forgotten about the body; a made-up head makes a new
        one ready for it (the old one takes no more bytes after `Connection: close`).
        """
        if not self.chunked and not self.length:
            # "MUST ignore an Upgrade header field that is received in an HTTP/1.0 request" (RFC 9110, 7.8).
            if upgrade.lower() == b"websocket" and self.method == "GET" and self.version == "1.1":
                self.upgrade = b"websocket"
            return
        known = (self.target, self.fields, self.method, self.keep_alive, self.length)
        framing = b"transfer-encoding: chunked" if self.chunked else b"content-length: %d" % self.length
        self.complete = False
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + END)
        self.target, self.fields, self.method, self.keep_alive, self.length = known


def refusal_of(error: HttpParserError) -> RequestRefused:
    """What to tell the client of the parser's complaint."""
    if isinstance(error, HttpParserInvalidMethodError):
        return RequestRefused(400, "unknown method")
    return RequestRefused(400, str(error).lower() or "malformed request")
