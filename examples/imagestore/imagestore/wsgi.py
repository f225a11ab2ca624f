"""The same store as a WSGI application."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, BinaryIO
from uuid import uuid4

from imagestore import routes
from imagestore.catalog import Image
from imagestore.routes import Action, Answer
from imagestore.settings import Settings
from imagestore.store import Store

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Application:
    """Opens its store with the first request: WSGI has no startup."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._opening = threading.Lock()
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        with self._opening:
            if self._store is None:
                self._store = Store(Settings.read(self._environ))
            return self._store

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        found = routes.route(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
        if isinstance(found, Answer):
            return _say(start_response, found)
        action, image = found
        try:
            if action is Action.DOWNLOAD:
                return self._download(image, environ, start_response)
            if action is Action.UPLOAD:
                return _say(start_response, self._upload(image or uuid4().hex, environ))
            query = environ.get("QUERY_STRING", "")
            return _say(start_response, routes.short(self.store, action, image, query))
        except routes.ERRORS as error:
            return _say(start_response, routes.refusal(error))

    def _upload(self, image: str, environ: Environ) -> Answer:
        with self.store.receive(image) as incoming:
            for piece in _body(environ):
                incoming.write(piece)
            return routes.created(incoming.commit())

    def _download(self, image: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        found, file = self.store.open(image)
        start_response("200 OK", routes.headers_of(found))
        if environ["REQUEST_METHOD"] == "HEAD":
            file.close()
            return []
        return _Pieces(file, found)


class _Pieces:
    """A download; the server closes it, also when the client goes away in the middle (PEP 3333)."""

    def __init__(self, file: BinaryIO, image: Image) -> None:
        self._file = file
        self._left = image.size or 0

    def __iter__(self) -> Iterator[bytes]:
        while self._left > 0:
            piece = self._file.read(min(self._left, routes.PIECE_BYTES))
            if not piece:
                raise EOFError(f"{self._file.name} is shorter than the catalogue says")
            self._left -= len(piece)
            yield piece

    def close(self) -> None:
        self._file.close()


def _body(environ: Environ) -> Iterator[bytes]:
    """The request's body. Without `wsgi.input_terminated` reading past its length may block for ever.

    Raises:
        EOFError: the client went away before the end.
    """
    left = int(environ.get("CONTENT_LENGTH") or 0)
    unbounded = bool(environ.get("wsgi.input_terminated")) and not environ.get("CONTENT_LENGTH")
    while unbounded or left > 0:
        piece = environ["wsgi.input"].read(routes.PIECE_BYTES if unbounded else min(left, routes.PIECE_BYTES))
        if not piece and unbounded:
            return
        if not piece:
            raise EOFError(f"the body ended {left} bytes early")
        left -= len(piece)
        yield piece


def _say(start_response: StartResponse, answer: Answer) -> list[bytes]:
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.all_headers)
    return [answer.body]


app = Application(os.environ)
