"""The endless answer to a watch: HTTP/1.1 in chunks, one JSON text per line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

LINE_END: Final = b"\r\n"
LINE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one message."""


async def lines_of(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """The lines of the answer's body, as they come.

    Raises:
        EOFError: the connection was closed before the answer's end.
        ValueError: it is not HTTP in chunks, or a line is too long.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        raise ValueError(f"unexpected answer {head.partition(LINE_END)[0].decode('latin-1')!r}")
    rest = b""
    while chunk := await _chunk(reader):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_LIMIT:
            raise ValueError("a message is too long")
        for line in lines:
            if line:
                yield line
    if rest:
        yield rest


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    """The next chunk; empty at the end of the answer."""
    size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
    if not 0 <= size <= LINE_LIMIT:
        raise ValueError("a chunk is too long")
    return (await reader.readexactly(size + 2))[:size]
