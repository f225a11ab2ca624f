"""The address where Prometheus scrapes: `GET /metrics` over HTTP/1.1, one request per connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

REQUEST_S: Final = 5.0
LINE_BYTES: Final = 8192
CLIENTS: Final = 16


class Scrape:
    """Answers on one listening socket until closed. `figures()` is asked at each scrape."""

    def __init__(self, figures: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._figures: Final = figures
        self._server: asyncio.Server | None = None
        self._gate: Final = asyncio.Semaphore(CLIENTS)

    async def listen(self, sock: socket.socket | None) -> None:
        """Answers on `sock` from now on, and no longer on the one before; on none if None."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if sock is not None:
            self._server = await asyncio.start_server(self._serve, sock=sock.dup(), limit=LINE_BYTES)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._gate, asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # not a scrape, or one that gave up
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: bytes) -> bytes:
        from hitless.serve.exposition import CONTENT_TYPE, exposition

        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path not in (b"/metrics", b"/") or method not in (b"GET", b"HEAD"):
            return _response("404 Not Found", "text/plain", b"the metrics are at /metrics\n")
        body = exposition(await self._figures()).encode()
        return _response("200 OK", CONTENT_TYPE, body, head_only=method == b"HEAD")


def _response(status: str, kind: str, body: bytes, *, head_only: bool = False) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + (b"" if head_only else body)
