"""The store as an ASGI application, without a framework. What blocks runs in threads."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from sqlalchemy.exc import SQLAlchemyError

from hitless.schema import Heartbeat
from imagefleet import release
from imagefleet.catalog import Catalog, Conflict, Invalid, NotFound
from imagefleet.content import Content
from imagefleet.settings import Settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PIECE_BYTES = 64 * 1024
BODY_BYTES = 64 * 1024
STATUS: dict[type[Exception], int] = {NotFound: 404, Conflict: 409, Invalid: 400, FileNotFoundError: 404}


class Service:
    """What a worker has open between lifespan startup and shutdown."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalog = Catalog(settings.database)
        self.content = Content(settings.content)
        self._heartbeat = Heartbeat(
            settings.database,
            service="imagestore",
            node=settings.node,
            release=release.RELEASE,
        )
        self._heartbeat.start()

    def close(self) -> None:
        self._heartbeat.stop()
        self.catalog.close()

    def check(self) -> None:
        self.catalog.check()
        self.content.check()


class Application:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._service: Service | None = None

    @property
    def service(self) -> Service:
        assert self._service is not None, "the server has no lifespan"
        return self._service

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
            self._service = await asyncio.to_thread(lambda: Service(Settings.read(self._environ)))
            await asyncio.to_thread(self.service.check)
        except (ValueError, OSError, SQLAlchemyError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self.service.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(self.service, scope, receive, send)
        try:
            await request.answer()
        except tuple(STATUS) as error:
            await request.say(STATUS[type(error)], {"error": str(error)})


class Request:
    """One request and how it is answered."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self._service, self._catalog = service, service.catalog
        self._method: str = scope["method"]
        self._path: str = scope["path"]
        self._query: bytes = scope["query_string"]
        self._receive, self._send = receive, send

    async def answer(self) -> None:
        parts = self._path.strip("/").split("/")
        if parts[0] == "images" and len(parts) == 1:
            await self._images()
        elif parts[0] == "images" and len(parts) == 2:
            await self._image(parts[1])
        elif parts[0] == "images" and parts[2:] == ["file"]:
            await self._file(parts[1])
        elif self._path == "/healthz":
            await asyncio.to_thread(self._service.check)
            await self.say(200, {"status": "ok"})
        elif self._path == "/version":
            node = self._service.settings.node
            await self.say(200, {"release": release.RELEASE, "node": node, "pid": os.getpid()})
        else:
            await self.say(404, {"error": f"there is nothing at {self._path}"})

    async def _images(self) -> None:
        if self._method == "POST":
            values = await self._json()
            made = await asyncio.to_thread(
                self._catalog.create, values.get("name"), values.get("visibility", "private")
            )
            await self.say(201, made.as_json())
        elif self._method == "GET":
            after = parse_qs(self._query.decode("latin-1")).get("after", [""])[0]
            found = await asyncio.to_thread(lambda: self._catalog.listing(after=after))
            await self.say(200, {"images": [image.as_json() for image in found]})
        else:
            await self._refuse()

    async def _image(self, image: str) -> None:
        if self._method == "GET":
            found = await asyncio.to_thread(self._catalog.get, image)
        elif self._method == "PATCH":
            values = await self._json()
            name, visibility = values.get("name"), values.get("visibility")
            found = await asyncio.to_thread(
                lambda: self._catalog.change(image, name=name, visibility=visibility)
            )
        elif self._method == "DELETE":
            await asyncio.to_thread(self._catalog.delete, image)
            await asyncio.to_thread(self._service.content.remove, image)
            await self.say(200, {})
            return
        else:
            await self._refuse()
            return
        await self.say(200, found.as_json())

    async def _file(self, image: str) -> None:
        if self._method == "PUT":
            await self._upload(image)
        elif self._method == "GET":
            await self._download(image)
        else:
            await self._refuse()

    async def _upload(self, image: str) -> None:
        claim = await asyncio.to_thread(self._catalog.claim, image)
        try:
            with await asyncio.to_thread(self._service.content.receive, image, claim) as incoming:
                async for piece in self._body():
                    await asyncio.to_thread(incoming.write, piece)
                await asyncio.to_thread(incoming.publish)
                stored = await asyncio.to_thread(
                    lambda: self._catalog.activate(image, claim, size=incoming.size, sha256=incoming.sha256)
                )
        except BaseException:
            with suppress(SQLAlchemyError):
                await asyncio.shield(asyncio.to_thread(self._catalog.release, claim))
            raise
        await self.say(200, stored.as_json())

    async def _download(self, image: str) -> None:
        found = await asyncio.to_thread(self._catalog.get, image)
        if found.size is None:
            raise NotFound(f"image {image} has no content yet")
        with await asyncio.to_thread(self._service.content.open, image) as file:
            await self._start(200, "application/octet-stream", found.size)
            left = found.size
            while left > 0:
                piece = await asyncio.to_thread(file.read, min(left, PIECE_BYTES))
                if not piece:
                    raise EOFError(f"the file of image {image} is shorter than the catalogue says")
                left -= len(piece)
                await self._send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        if not found.size:
            await self._send({"type": "http.response.body", "body": b""})

    async def say(self, status: int, content: object) -> None:
        """A short answer."""
        body = json.dumps(content).encode()
        await self._start(status, "application/json", len(body))
        await self._send({"type": "http.response.body", "body": body})

    async def _refuse(self) -> None:
        await self.say(405, {"error": "method not allowed"})

    async def _start(self, status: int, kind: str, size: int) -> None:
        headers = [(b"content-type", kind.encode()), (b"content-length", str(size).encode())]
        headers.append((b"x-release", release.RELEASE.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _json(self) -> dict[str, Any]:
        body = b""
        async for piece in self._body():
            body += piece
            if len(body) > BODY_BYTES:
                raise Invalid(f"the body has more than {BODY_BYTES} bytes")
        try:
            values = json.loads(body)
        except ValueError as error:
            raise Invalid("the body is no JSON") from error
        if not isinstance(values, dict):
            raise Invalid("the body is no JSON object")
        return values

    async def _body(self) -> Any:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client went away")
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return


app = Application(os.environ)
