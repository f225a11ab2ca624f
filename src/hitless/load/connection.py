"""One keep-alive connection of a client: one request at a time, and an exact statement of how it ended.

A connection is *idle* between responses and *busy* while one is awaited. Whatever ends it is classified here
and nowhere else:

    busy, no byte of the response yet, first request     Failure.RESET
    busy, no byte of the response yet, re-used           Failure.STALE
    busy, within the response                            Failure.CUT
    idle                                                 ServerClose.IDLE
    response that says close                             ServerClose.POLITE

A *blind* connection does not look at its socket while idle, as http.client, and pools that do not test a
connection before they re-use it, do not: a close by the server is met by the next request, which is then
stale. One that is not blind notices the close as soon as it arrives, so only a real race makes a request
stale.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ssl as tls
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import httptools

from hitless.load.exchange import Request, Response
from hitless.load.failure import Failure, How, LoadError, RequestFailed, ServerClose
from hitless.load.target import Target

if TYPE_CHECKING:
    from hashlib import _Hash

KEPT_BYTES = 1024 * 1024
OWN_FAULTS = frozenset({"EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"})


class Connection(asyncio.Protocol):
    """One connection. Made by :func:`dial`; it is of no more use once `usable` is false."""

    def __init__(self, target: Target, *, blind: bool, on_close: Callable[[ServerClose], None]) -> None:
        self.answered = 0
        """Responses that arrived whole on this connection."""
        self._target = target
        self._blind = blind
        self._on_close = on_close
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Response] | None = None
        self._request: Request | None = None
        self._at_eof = False
        self._ended = False
        self._fresh_answer()

    @property
    def usable(self) -> bool:
        """Whether a request may be sent. A blind connection whose close was not looked at still says so."""
        return not self._ended

    async def exchange(self, request: Request) -> Response:
        """Send `request` and return the whole response; the deadline is the caller's.

        Raises:
            RequestFailed: reset, stale, cut or garbled; the connection is of no more use then.
        """
        assert self._transport is not None
        self._request = request
        self._waiter = asyncio.get_running_loop().create_future()
        if self._blind and self.answered:
            self._transport.resume_reading()
        self._transport.write(request.encode(self._target.authority, self._target.path))
        try:
            return await self._waiter
        finally:
            self._waiter = self._request = None

    def close(self) -> None:
        """End it from the client's side; not counted as the server's doing."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._waiter is None or self._waiter.done():
            # An answer nobody asked for: a 408 before the server closes an idle connection.
            self._end(ServerClose.IDLE)
            return
        self._any_byte = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(Failure.BAD_STATUS, f"status {self._status}, nobody asked to upgrade")
        except httptools.HttpParserError as error:
            self._fail(Failure.GARBLED, str(error))

    def eof_received(self) -> None:
        self._at_eof = True

    def connection_lost(self, error: Exception | None) -> None:
        if self._ended:
            return
        # A broken pipe is our write meeting the FIN that came before it.
        reset = error is not None and not self._at_eof and not isinstance(error, BrokenPipeError)
        how = How.RST if reset else How.EOF
        if self._waiter is None or self._waiter.done():
            self._end(ServerClose.IDLE)
        elif not self._any_byte:
            self._lose(Failure.STALE if self.answered else Failure.RESET, how)
        elif self._ends_with_connection and how is How.EOF:
            self._complete(keep=False)
        else:
            self._lose(Failure.CUT, how)

    # httptools

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            if not self._ended:  # an answer nobody asked for, right behind the last one
                self._end(ServerClose.IDLE)
            return
        self._fresh_answer()
        self._any_byte = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        names = {name for name, _ in self._headers}
        head = self._request is not None and self._request.method == "HEAD"
        bodiless = head or self._status < 200 or self._status in (204, 304)
        self._ends_with_connection = not bodiless and names.isdisjoint(
            ("content-length", "transfer-encoding")
        )
        if head and self._status >= 200:
            # llhttp would wait for the content that the Content-Length of a HEAD names.
            keep = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)
            self._complete(keep=keep)

    def on_body(self, body: bytes) -> None:
        self._length += len(body)
        if self._digest is not None:
            self._digest.update(body)
        if self._request is not None and self._request.keep_body and len(self._kept) < KEPT_BYTES:
            self._kept += body

    def on_message_complete(self) -> None:
        if self._status >= 200:  # 100 Continue and its like are no answer yet (RFC 9110, 15.2)
            self._complete(keep=self._parser.should_keep_alive())

    # how an answer ends

    def _fresh_answer(self) -> None:
        self._any_byte = False
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._kept = bytearray()
        self._length = 0
        self._ends_with_connection = False
        wanted = self._request is not None and self._request.expect_sha256 is not None
        self._digest: _Hash | None = hashlib.sha256() if wanted else None

    def _complete(self, *, keep: bool) -> None:
        if self._waiter is None or self._waiter.done():
            return
        digest = self._digest.hexdigest() if self._digest else ""
        answer = Response(self._status, tuple(self._headers), bytes(self._kept), self._length, digest)
        self._any_byte = False
        self.answered += 1
        self._waiter.set_result(answer)
        if not keep:
            self._end(ServerClose.POLITE)
        elif self._blind and self._transport is not None:
            self._transport.pause_reading()

    def _end(self, close: ServerClose) -> None:
        """The server ended it: count it once, and give our side up."""
        self._ended = True
        asked = self._request is not None and ("Connection", "close") in self._request.headers
        if not (close is ServerClose.POLITE and asked):
            self._on_close(close)
        if self._transport is not None:
            self._transport.close()

    def _lose(self, failure: Failure, how: How) -> None:
        self._end(ServerClose.FAILED)
        self._reject(RequestFailed(failure, how, f"{how} after {self.answered} answers"))

    def _fail(self, failure: Failure, detail: str) -> None:
        self._reject(RequestFailed(failure, detail=detail))
        self.close()

    def _reject(self, error: RequestFailed) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


async def dial(
    target: Target,
    *,
    on_close: Callable[[ServerClose], None],
    blind: bool = False,
    context: tls.SSLContext | None = None,
) -> Connection:
    """A connection to `target`; the deadline is the caller's.

    Raises:
        RequestFailed: refused, or timed out in the kernel.
        LoadError: this side has no descriptors or ports left.
    """
    loop = asyncio.get_running_loop()

    def protocol() -> Connection:
        return Connection(target, blind=blind, on_close=on_close)

    try:
        if target.unix is not None:
            return (await loop.create_unix_connection(protocol, target.unix))[1]
        secure = (context or _unverified()) if target.tls else None
        return (await loop.create_connection(protocol, target.host, target.port, ssl=secure))[1]
    except OSError as error:
        raise _undialled(target, error) from error


def _undialled(target: Target, error: OSError) -> Exception:
    name = errno.errorcode.get(error.errno or 0, "")
    if name in OWN_FAULTS:
        return LoadError(
            f"cannot open another connection to {target}: {error}; raise the limit or use fewer clients"
        )
    if isinstance(error, TimeoutError):
        return RequestFailed(Failure.TIMED_OUT, detail=str(error))
    return RequestFailed(Failure.REFUSED, detail=name or str(error))


def _unverified() -> tls.SSLContext:
    """A test's server has a certificate that nobody signed."""
    context = tls.create_default_context()
    context.check_hostname = False
    context.verify_mode = tls.CERT_NONE
    return context
