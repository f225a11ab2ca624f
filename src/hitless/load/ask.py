"""One request on a connection of its own: for checks beside a load, not for figures."""

from __future__ import annotations

import asyncio

from hitless.load.connection import dial
from hitless.load.exchange import Request, Response
from hitless.load.target import Target


async def ask(url: str, request: Request | None = None, *, timeout_s: float = 10.0) -> Response:
    """The response, its body kept, checked against what `request` expects.

    Raises:
        RequestFailed: any of the ways to fail.
        TimeoutError: not answered within `timeout_s`.
    """
    target = Target.parse(url)
    request = request or Request(keep_body=True, headers=(("Connection", "close"),))
    async with asyncio.timeout(timeout_s):
        connection = await dial(target, on_close=lambda _: None)
        try:
            response = await connection.exchange(request)
        finally:
            connection.close()
    request.verify(response)
    return response
