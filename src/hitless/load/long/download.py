"""A download that takes its time."""

from __future__ import annotations

import asyncio
import time

from hitless.load.long.ending import COMPLETE, DEADLINE, Ending, Lost, OnProgress, Progress
from hitless.load.long.wire import Wire, request_head
from hitless.load.target import Target

BUFFER_BYTES = 16 * 1024
GRACE_S = 30.0


async def slow_download(
    url: str, *, seconds: float, size: int, on_progress: OnProgress | None = None
) -> Ending:
    """Read content of `size` bytes at a pace that takes `seconds`, buffering so little that the server feels
    it.

    Never raises what the server did: the ending says it. The loopback's own buffers hold some megabytes, so
    what is to be slow for the *server* must be much larger than that.
    """
    progress = Progress(on_progress)
    target = Target.parse(url)
    try:
        async with asyncio.timeout(seconds + GRACE_S):
            async with await Wire.open(target, buffer_bytes=BUFFER_BYTES) as wire:
                await wire.send(request_head(target, "GET", connection="close"))
                head = await wire.head()
                progress.status, progress.closing = head.status, not head.keep_alive
                began = time.monotonic()
                async for piece in wire.pieces(BUFFER_BYTES):
                    progress.add(piece)
                    due = began + seconds * min(1.0, progress.size / size)
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
    except Lost as lost:
        return progress.end(lost.reason)
    except TimeoutError:
        return progress.end(DEADLINE)
    if progress.status != 200 or progress.size != size:
        return progress.end(f"status {progress.status} with {progress.size} of {size} bytes")
    return progress.end(COMPLETE)
