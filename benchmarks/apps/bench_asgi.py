"""The benchmark's ASGI application; every server serves this very file."""

from __future__ import annotations

import asyncio
import hashlib
import os

from bench_release import HELLO, JSON_10K, PIECE, VERSION, touch

TEXT = [(b"content-type", b"text/plain")]
HELLO_HEADERS = [*TEXT, (b"content-length", str(len(HELLO)).encode())]
JSON_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(JSON_10K)).encode())]


async def app(scope, receive, send):
    kind = scope["type"]
    if kind == "http":
        path = scope["path"]
        if path == "/" and scope["method"] == "GET":
            await send({"type": "http.response.start", "status": 200, "headers": HELLO_HEADERS})
            await send({"type": "http.response.body", "body": HELLO})
        elif path == "/json":
            await send({"type": "http.response.start", "status": 200, "headers": JSON_HEADERS})
            await send({"type": "http.response.body", "body": JSON_10K})
        else:
            await OTHERS.get(path, _body)(receive, send)
    elif kind == "websocket":
        await _echo(receive, send)
    elif kind == "lifespan":
        await _lifespan(receive, send)


async def _lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _say(send, body):
    headers = [*TEXT, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _version(_receive, send):
    await _say(send, f"{VERSION} {os.getpid()}".encode())


async def _touch(_receive, send):
    await _say(send, str(touch()).encode())


async def _body(receive, send):
    """Take the request's body; answer its digest."""
    digest = hashlib.sha256()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message.get("body", b""))
        if not message.get("more_body"):
            break
    await _say(send, digest.hexdigest().encode())


async def _download(_receive, send):
    headers = [*TEXT, (b"content-length", str(256 * len(PIECE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(256):
        await send({"type": "http.response.body", "body": PIECE, "more_body": number < 255})


async def _events(receive, send):
    """A server-sent event five times a second until the client, or the server, has had enough."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.create_task(_disconnected(receive))
    number = 0
    while not gone.done():
        event = f"id: {number}\ndata: {VERSION}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.wait((gone,), timeout=0.2)
        number += 1
    await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def _echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text") or message["bytes"].decode()})


OTHERS = {"/version": _version, "/touch": _touch, "/download": _download, "/events": _events}
