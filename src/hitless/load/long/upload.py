"""An upload that takes its time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from hitless.load.exchange import chunk
from hitless.load.long.ending import COMPLETE, DEADLINE, Ending, Lost, OnProgress, Progress
from hitless.load.long.wire import Head, Wire, request_head
from hitless.load.target import Target

GRACE_S = 30.0
"""What the server may take for its answer after the last byte."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a body goes out."""

    body: bytes
    seconds: float
    pieces: int
    chunked: bool


async def slow_upload(
    url: str,
    *,
    size: int,
    seconds: float,
    pieces: int = 100,
    chunked: bool = False,
    method: str = "PUT",
    content_type: str | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Ending:
    """Send `size` random bytes over `seconds`, evenly in `pieces`, and wait for the answer.

    Never raises what the server did: the ending says it. An answer before the end of the body ends the upload
    too.
    """
    progress = Progress(on_progress)
    target = Target.parse(url)
    pace = Pace(Random(seed).randbytes(size), seconds, pieces, chunked)
    framing = {"transfer_encoding": "chunked"} if chunked else {"content_length": str(size)}
    if content_type is not None:
        framing["content_type"] = content_type
    try:
        async with asyncio.timeout(seconds + GRACE_S), await Wire.open(target) as wire:
            await wire.send(request_head(target, method, connection="close", **framing))
            head = await _transfer(wire, pace, progress)
    except Lost as lost:
        return progress.end(lost.reason)
    except TimeoutError:
        return progress.end(DEADLINE)
    return _ended(progress, head, whole=progress.size == size)


async def _transfer(wire: Wire, pace: Pace, progress: Progress) -> Head:
    """Send the body until it is complete or an answer comes; the answer."""
    answer = asyncio.create_task(wire.head())
    try:
        # Where the server stopped reading, its answer says more than the broken pipe.
        with suppress(Lost):
            await _send(wire, pace, progress, answer)
        sent = time.monotonic()
        head = await answer
        progress.answer_s = time.monotonic() - sent
        return head
    finally:
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)


async def _send(wire: Wire, pace: Pace, progress: Progress, answer: asyncio.Task[Head]) -> None:
    step = max(1, -(-len(pace.body) // pace.pieces))
    for begin in range(0, len(pace.body), step):
        piece = pace.body[begin : begin + step]
        await wire.send(chunk(piece) if pace.chunked else piece)
        progress.add(piece)
        wait = 0.0 if begin + step >= len(pace.body) else pace.seconds / pace.pieces
        answered, _ = await asyncio.wait((answer,), timeout=wait)
        if answered:
            return
    if pace.chunked:
        await wire.send(b"0\r\n\r\n")


def _ended(progress: Progress, head: Head, *, whole: bool) -> Ending:
    progress.status, progress.closing = head.status, not head.keep_alive
    if not whole:
        return progress.end(f"status {head.status} before the end of the body")
    return progress.end(COMPLETE if 200 <= head.status < 300 else f"status {head.status}")
