"""One request and its response, whichever interface the application speaks."""

from __future__ import annotations

from hitless.serve.http.errors import RequestRefused
from hitless.serve.http.response import Response


class Exchange(Response):
    """What a connection may tell the request that it carries; always on the event loop."""

    __slots__ = ()

    def expect(self, marked: dict[bytes, bytes]) -> None:
        """Look whether the client expects something before it sends its body.

        Raises:
            RequestRefused: something that nobody here knows.
        """
        expected = marked.get(b"expect")
        if expected is None or self.version == "1.0":
            return
        if expected.lower() != b"100-continue":
            raise RequestRefused(417, "the only expectation met here is 100-continue")
        reader = self.connection.reader
        self.awaits_continue = not reader.complete and not reader.held

    def kind_now(self) -> str:
        """What an operator would call it."""
        return "event-stream" if self.event_stream else "request"

    def cancel(self) -> None:
        """The worker is about to exit: stop the application if that is possible."""

    def start(self) -> None:
        """Run the application."""
        raise NotImplementedError

    def receive_body(self) -> None:
        """The reader holds more of the body, or knows its end."""

    def receive_data(self, data: bytes) -> None:
        """Bytes after an upgrade."""

    def probe(self) -> None:
        """An upgraded connection has been silent for long."""

    def client_left(self) -> None:
        """The client has closed its side; it may still be reading."""

    def disconnected(self) -> None:
        """The client is gone."""
        self.gone = True

    def writable(self) -> None:
        """The transport takes more again."""

    def end_stream(self) -> None:
        """The worker drains and this stream has had its time: ask the application to end it."""
        self.is_told_to_end = True
        self.client_left()

    def go_ahead(self) -> None:
        """The application wants the body: a client that waits for that is told."""
        if self.awaits_continue and not self.begun and not self.gone:
            self.awaits_continue = False
            self.connection.send_continue()

    def failed(self, error: BaseException) -> None:
        """The application raised.

        Before the head was written the client gets a 500. After it only a broken connection can say that
        the response is not complete: a proper end would make a truncated response look whole.
        """
        engine = self.connection.engine
        engine.log(
            "error",
            "application raised",
            method=self.method,
            target=self.target.decode("latin-1"),
            request_id=self.request_id,
            exc_info=error,
        )
        self._unfinished()

    def returned(self) -> None:
        """The application is done; is the response?"""
        if self.complete or self.gone:
            return
        if not self.is_told_to_end:
            self.connection.engine.log(
                "error",
                "application returned before its response was complete",
                method=self.method,
                target=self.target.decode("latin-1"),
                request_id=self.request_id,
            )
        self._unfinished()

    def _unfinished(self) -> None:
        if self.complete or self.gone:
            return
        if not self.begun:
            self.connection.refuse(500, "Internal Server Error")
        elif self.is_told_to_end and self.left < 0:
            self.go_on(b"", more=False)
        else:
            self.connection.break_off(self)
