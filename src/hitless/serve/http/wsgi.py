"""The WSGI side of an exchange (PEP 3333).

The application and its input run in a thread of the pool; everything else — parsing, framing, writing —
stays on the event loop. The thread talks to the loop by posts; the loop talks to the thread through two
small mailboxes: `_Mail`, for a piece of the body, and `_Credit`, for permission to go on writing. A request
does not take a thread before its body is there, or enough of it: a slow upload occupies memory (a bounded
amount), not a thread.
"""

from __future__ import annotations

import contextvars
import functools
import io
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from hitless.serve.http.environ import environ_of
from hitless.serve.http.errors import ClientGone
from hitless.serve.http.exchange import Exchange

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from hitless.serve.http.connection import Connection

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Fields = tuple[tuple[bytes, bytes], ...]
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

SPOOL: Final = 65536
"""Bytes of body that are read before the application gets a thread; a smaller body is there as a whole."""
AHEAD: Final = 262144
"""Bytes that a thread may be ahead of what the client has taken."""


class _Credit:
    """How far a thread may write ahead of the client; it waits here if it is too far."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owed = 0
        self._gone = False

    def spend(self, size: int) -> None:
        with self._changed:
            self._owed += size
            while self._owed > AHEAD and not self._gone:
                self._changed.wait()
        if self._gone:
            raise ClientGone("the client closed the connection")

    def repay(self, size: int) -> None:
        with self._changed:
            self._owed -= size
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._gone = True
            self._changed.notify()


class _Mail:
    """One piece of the body, from the loop to a waiting thread; `b""` is the end, None that the client is
    gone.
    """

    def __init__(self) -> None:
        self._there = threading.Event()
        self._piece: bytes | None = None

    def put(self, piece: bytes | None) -> None:
        self._piece = piece
        self._there.set()

    def get(self) -> bytes | None:
        self._there.wait()
        return self._piece


class _Body(io.RawIOBase):
    """The body of a request while it still arrives, for a thread to read."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self._fetch = fetch
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._rest:
            self._rest = memoryview(self._fetch())
        room = memoryview(buffer).cast("B")
        size = min(len(room), len(self._rest))
        room[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class WsgiExchange(Exchange):
    """One request to a WSGI application, and its response."""

    __slots__ = (
        "_body",
        "_credit",
        "_is_begun",
        "_is_submitted",
        "_length",
        "_mail",
        "_said",
        "_unpaid",
    )

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._said: tuple[int, Fields] | None = None
        self._credit: _Credit | None = None
        self._mail: _Mail | None = None
        self._is_begun = self._is_submitted = False
        self._unpaid = 0
        self._length: int | None = None

    # On the event loop.

    def start(self) -> None:
        reader = self.connection.reader
        if reader.complete or self.awaits_continue or reader.held >= SPOOL:
            self._submit()

    def receive_body(self) -> None:
        reader = self.connection.reader
        if not self._is_submitted:
            if reader.complete or reader.held >= SPOOL:
                self._submit()
        elif self._mail is not None:
            self._deliver()
        if reader.held > SPOOL:
            self.connection.pause_body()

    def disconnected(self) -> None:
        self.gone = True
        if not self._is_submitted:
            self._is_submitted = True
            self.connection.engine.finished(self)
        if self._credit is not None:
            self._credit.close()
        if self._mail is not None:
            self._mail.put(None)
            self._mail = None

    def writable(self) -> None:
        if self._unpaid and self._credit is not None:
            self._credit.repay(self._unpaid)
            self._unpaid = 0

    def _submit(self) -> None:
        self._is_submitted = True
        reader = self.connection.reader
        body: io.BufferedIOBase
        if reader.complete:
            whole = reader.take()
            body = io.BytesIO(whole)
            if reader.chunked:
                self._length = len(whole)
        else:
            body = io.BufferedReader(_Body(self._fetch), SPOOL)
        self._body = body
        self.connection.engine.pool.submit(self._run)

    def _deliver(self) -> None:
        """Give the waiting thread what there is of the body."""
        mail, reader = self._mail, self.connection.reader
        assert mail is not None
        if self.complete or self.gone:
            mail.put(None if self.gone else b"")
        elif reader.held:
            mail.put(reader.take())
            self.connection.resume_body()
        elif reader.complete:
            mail.put(b"")
        else:
            self.go_ahead()
            return
        self._mail = None

    def _ask(self, mail: _Mail) -> None:
        self._mail = mail
        self._deliver()

    def _put(self, status: int, fields: Fields, body: bytes, more: bool) -> None:
        """Write a piece that a thread has posted."""
        if self.gone or self.complete:
            return
        try:
            if self.begun:
                self.go_on(body, more=more)
            else:
                self.begin(status, fields, body, more=more)
        except (ValueError, RuntimeError, TypeError) as error:
            self.failed(error)
            self.disconnected()
            return
        if more:
            self._unpaid += len(body)
            if not self.connection.write_paused:
                self.writable()

    def _failed(self, error: BaseException) -> None:
        self.failed(error)
        self.connection.engine.finished(self)

    def _returned(self) -> None:
        self.returned()
        self.connection.engine.finished(self)

    def _answer(self, status: int, fields: Fields, body: bytes) -> None:
        """The whole response at once, which is the usual case."""
        self._put(status, fields, body, False)
        self.connection.engine.finished(self)

    # In a thread.

    def _run(self) -> None:
        contextvars.Context().run(self._work)

    def _work(self) -> None:
        pool = self.connection.engine.pool
        try:
            environ = environ_of(self, self.connection)
            environ["wsgi.input"] = self._body
            if self._length is not None:
                # Django and others read nothing where no length is given; here it is known by now.
                environ["CONTENT_LENGTH"] = str(self._length)
                environ.pop("HTTP_TRANSFER_ENCODING", None)
            result = cast(WsgiApplication, self.connection.engine.app)(environ, self._start_response)
            try:
                if isinstance(result, (list, tuple)) and not self._is_begun and self._said is not None:
                    whole = b"".join(result)
                else:
                    whole = None
                    self._iterate(result)
            finally:
                if hasattr(result, "close"):
                    result.close()
        except ClientGone:
            pool.post(self._returned)
        except BaseException as error:  # noqa: BLE001 - whatever an application raises must not end the thread
            pool.post(self._failed, error)
        else:
            if whole is None:
                pool.post(self._returned)
            else:
                assert self._said is not None
                pool.post(self._answer, *self._said, whole)

    def _iterate(self, result: Iterable[bytes]) -> None:
        for piece in result:
            if piece:
                self._write(piece)
        if self._said is None:
            raise RuntimeError("the application returned without calling start_response")
        self.connection.engine.pool.post(self._put, *self._said, b"", False)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._is_begun and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a cycle through the traceback
        elif self._said is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        self._said = (wsgi_status(status), wsgi_fields(tuple(headers)))
        return self._write

    def _write(self, piece: bytes) -> None:
        """PEP 3333's `write`; also how pieces of an iterable go out. Waits for a slow client."""
        if self._said is None:
            raise RuntimeError("the application wrote before it called start_response")
        if not isinstance(piece, bytes):
            raise TypeError(f"a WSGI application writes bytes, not {type(piece).__name__}")
        if self._credit is None:
            self._credit = _Credit()
        self._is_begun = True
        if self.gone:
            raise ClientGone("the client closed the connection")
        self.connection.engine.pool.post(self._put, *self._said, piece, True)
        self._credit.spend(len(piece))

    def _fetch(self) -> bytes:
        """The next piece of the body; `b""` at its end.

        Raises:
            ClientGone: before the body was complete.
        """
        mail = _Mail()
        self.connection.engine.pool.post(self._ask, mail)
        piece = mail.get()
        if piece is None:
            raise ClientGone("the client closed the connection before its request was complete")
        return piece


@functools.lru_cache(maxsize=256)
def wsgi_fields(headers: tuple[tuple[str, str], ...]) -> Fields:
    """A WSGI application's headers as bytes."""
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)


@functools.lru_cache(maxsize=64)
def wsgi_status(status: str) -> int:
    """The code of a WSGI status line, `404 Not Found`.

    Raises:
        ValueError: it has no three-digit code of a final response in front.
    """
    code = status[:3]
    if not (code.isascii() and code.isdigit() and status[3:4] in ("", " ") and code >= "200"):
        raise ValueError(f"{status!r} is no status of a final response")
    return int(code)
