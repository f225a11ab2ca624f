"""The health request: sent through a new worker's own HTTP engine before it serves anybody."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final

from hitless.change import Deadline, DeadlinePassed, Refused
from hitless.serve.settings import Health
from hitless.serve.workers import WorkerProcess

_LINE_BYTES = 4096

LAST_BREATH_S: Final = 1.0
"""How long the death of a worker that closed the connection may take to be known: it would be the better reason."""


async def probe(worker: WorkerProcess, health: Health, *, scheme: str, deadline: Deadline) -> None:
    """Returns when `worker` has answered the health request as it should.

    Raises:
        Refused: with reason `health_failed` or `worker_died`.
    """
    assert health.path is not None
    ours, theirs = socket.socketpair()
    worker.probe(theirs, scheme)
    reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE_BYTES)
    try:
        writer.write(
            f"GET {health.path} HTTP/1.1\r\nHost: {health.host}\r\nUser-Agent: hitless-health\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        line = await deadline.sooner(health.timeout).wait(
            reader.readline(), f"{health.path} was not answered"
        )
    except (OSError, ValueError) as error:
        raise Refused("health_failed", f"the health request {health.path} failed: {error}") from error
    except DeadlinePassed as error:
        raise Refused("health_failed", f"the health request failed: {error}") from error
    finally:
        writer.transport.abort()
    _, _, rest = line.decode("latin-1").partition(" ")
    status = rest[:3]
    if not status:
        with suppress(DeadlinePassed):
            await Deadline.after(LAST_BREATH_S).wait(worker.gone, "the worker lives")
            raise Refused("worker_died", f"a worker {worker.exit} at the health request {health.path}")
    if not _accepted(status, health.status):
        answer = f"answered {status}" if status else "closed the connection"
        raise Refused("health_failed", f"the health request {health.path} {answer}, not {health.status}")


def _accepted(status: str, wanted: str) -> bool:
    return len(status) == 3 and all(want in ("x", digit) for digit, want in zip(status, wanted, strict=True))
