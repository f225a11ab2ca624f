"""What becomes of long work when the service is reloaded twice under it.

An upload, a download, a stream of server-sent events and a WebSocket, each of 12 s; reloads after 2 and 6 s;
2 workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from benchmarks.options import Options
from benchmarks.peers import Peer
from benchmarks.results import Results, Row, reason
from benchmarks.server import NotServing, Server, Setup, running
from hitless.load.long import Ending, EventStream, Lost, WebSocket, slow_download, slow_upload

NAME = "long"
WORKERS = 2
WORK_S = 12.0
RELOADS_S = (2.0, 4.0)
"""Before each reload."""
UPLOAD_BYTES = 1_200_000
DOWNLOAD_BYTES = 256 * 64 * 1024
DEADLINE_S = 60.0


async def measure(options: Options) -> Results:
    skipped: list[str] = []
    rows: list[Row] = []
    for peer in options.peers(NAME, skipped):
        try:
            rows.append(await _one(peer, options))
            options.note(f"{NAME}: {rows[-1]}")
        except NotServing as error:
            options.note(f"{NAME}: {error}")
            skipped.append(f"{peer.name} ({reason(error)})")
    return Results(NAME, __doc__ or "", {f"{WORK_S:g} s of work, two reloads": rows}, skipped)


async def _one(peer: Peer, options: Options) -> Row:
    async with running(peer, Setup(options.python, WORKERS)) as server:
        works = _works(server)
        tasks = {name: asyncio.create_task(work) for name, work in works.items()}
        for number, pause in enumerate(RELOADS_S):
            await asyncio.sleep(pause)
            server.reload(str(number + 2))
        endings = {name: await task for name, task in tasks.items()}
    named = dict.fromkeys(("upload", "download", "event stream", "WebSocket"), "–")
    return {"server": peer.name} | named | {name: _told(ending) for name, ending in endings.items()}


def _works(server: Server) -> dict[str, Coroutine[Any, Any, Ending]]:
    works: dict[str, Coroutine[Any, Any, Ending]] = {
        "upload": slow_upload(f"{server.url}/upload", size=UPLOAD_BYTES, seconds=WORK_S),
        "download": slow_download(f"{server.url}/download", size=DOWNLOAD_BYTES, seconds=WORK_S),
    }
    if server.peer.interface == "asgi":
        works["event stream"] = EventStream(f"{server.url}/events", enough=int(WORK_S * 5)).run(DEADLINE_S)
        works["WebSocket"] = _websocket(server)
    return works


async def _websocket(server: Server) -> Ending:
    try:
        async with await WebSocket.open(f"{server.url}/ws") as socket:
            return await socket.echo(times=int(WORK_S * 2), every_s=0.5)
    except Lost as lost:
        return Ending(lost.reason, 0.0, 0)


def _told(ending: Ending) -> str:
    return "survived" if ending.survived else f"**{ending.reason}** after {ending.seconds:.1f} s"
