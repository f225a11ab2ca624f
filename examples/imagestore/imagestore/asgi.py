"""The store as an ASGI application, without a framework. What blocks runs in threads."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, BinaryIO
from uuid import uuid4

from imagestore import routes
from imagestore.catalog import Image
from imagestore.routes import Action, Answer
from imagestore.settings import Settings
from imagestore.store import Store

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """Opens its store at lifespan startup, or with the first request of a server without lifespan."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = Store(Settings.read(self._environ))
        return self._store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            raise NotImplementedError(f"the image store does not speak {scope['type']}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self.store.check()
        except (ValueError, OSError, sqlite3.Error) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.store.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = routes.route(scope["method"], scope["path"])
        if isinstance(found, Answer):
            return await _say(send, found)
        action, image = found
        try:
            if action is Action.UPLOAD:
                await self._upload(image or uuid4().hex, receive, send)
            elif action is Action.DOWNLOAD:
                await self._download(image, send, head=scope["method"] == "HEAD")
            else:
                query = scope["query_string"].decode("latin-1")
                await _say(send, await asyncio.to_thread(routes.short, self.store, action, image, query))
        except routes.ERRORS as error:
            await _say(send, routes.refusal(error))

    async def _upload(self, image: str, receive: Receive, send: Send) -> None:
        with await asyncio.to_thread(self.store.receive, image) as incoming:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                if message.get("body"):
                    await asyncio.to_thread(incoming.write, message["body"])
                if not message.get("more_body"):
                    break
            stored = await asyncio.to_thread(incoming.commit)
        await _say(send, routes.created(stored))

    async def _download(self, image: str, send: Send, *, head: bool) -> None:
        found, file = await asyncio.to_thread(self.store.open, image)
        with file:
            await _start(send, 200, routes.headers_of(found))
            await _stream(send, file, found, head=head)


async def _stream(send: Send, file: BinaryIO, image: Image, *, head: bool) -> None:
    left = 0 if head else image.size or 0
    while left > 0:
        piece = await asyncio.to_thread(file.read, min(left, routes.PIECE_BYTES))
        if not piece:
            raise EOFError(f"the file of image {image.id} is shorter than the catalogue says")
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
    if not image.size or head:
        await send({"type": "http.response.body", "body": b""})


async def _say(send: Send, answer: Answer) -> None:
    await _start(send, answer.status, answer.all_headers)
    await send({"type": "http.response.body", "body": answer.body})


async def _start(send: Send, status: int, headers: Iterable[tuple[str, str]]) -> None:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


app = Application(os.environ)
