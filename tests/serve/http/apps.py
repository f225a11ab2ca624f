"""Small applications."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

PLAIN = [(b"content-type", b"text/plain")]


async def answer(send: Any, body: bytes = b"hello", status: int = 200, headers: Any = PLAIN) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send)


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request's body."""
    assert scope["type"] == "http"
    await answer(send, await read_body(receive))


async def describe(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the scope and the body as JSON."""
    assert scope["type"] == "http"
    body = await read_body(receive)
    shown = {key: value for key, value in scope.items() if key not in ("headers", "extensions")}
    shown["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    shown["body"] = body.decode("latin-1")
    await answer(send, json.dumps(shown, default=lambda raw: raw.decode("latin-1")).encode())


class Gate:
    """Answers when told to; says when it was asked."""

    def __init__(self, body: bytes = b"hello") -> None:
        self.body = body
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.calls += 1
        self.asked.set()
        await self.open.wait()
        await answer(send, self.body)


def w_hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def w_echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def w_describe(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read().decode("latin-1")
    shown = {key: value for key, value in environ.items() if isinstance(value, (str, bool, int, tuple))}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({**shown, "body": body}).encode()]
