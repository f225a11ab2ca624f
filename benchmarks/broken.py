"""What a reload of broken code does: the application raises at import, then a good release follows.

16 keep-alive clients (think 0 to 0.5 s) use the service meanwhile. nginx, which has no code, gets a broken
configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from benchmarks.follow import follow
from benchmarks.loader import LoadFailed, loading, steps
from benchmarks.options import Options
from benchmarks.peers import Peer
from benchmarks.results import Results, Row, reason
from benchmarks.server import NotServing, Server, Setup, running

NAME = "broken"
WORKERS = 2
IMPORT_S = 0.2
WATCH_S = 10.0
LOAD = ("--clients", "16", "--think", "0:0.5", "--timeout", "5")


async def measure(options: Options) -> Results:
    skipped: list[str] = []
    rows: list[Row] = []
    for peer in options.peers(NAME, skipped):
        try:
            rows.append(await _one(peer, options))
            options.note(f"{NAME}: {rows[-1]}")
        except (NotServing, LoadFailed, TimeoutError) as error:
            options.note(f"{NAME}: {peer.name}: {error}")
            skipped.append(f"{peer.name} ({reason(error)})")
    return Results(
        NAME, __doc__ or "", {f"A release that raises at import, {WORKERS} workers": rows}, skipped
    )


async def _one(peer: Peer, options: Options) -> Row:
    async with (
        running(peer, Setup(options.python, WORKERS, IMPORT_S)) as server,
        loading(server.url, *LOAD) as load,
    ):
        load.step("broken")
        server.reload("2 broken")
        await asyncio.sleep(WATCH_S)
        serving = await server.version()
        survived = server.alive
        load.step("repaired")
        repaired = await _repair(server)
        report = await load.finish()
    return _row(peer, report, serving=serving, survived=survived, repaired=repaired)


async def _repair(server: Server) -> float | None:
    """Release good code; seconds until it answers."""
    server.reload("3")
    return (await follow(server, "3", deadline_s=20.0)).first_new_s


def _row(
    peer: Peer, report: Mapping[str, Any], *, serving: str | None, survived: bool, repaired: float | None
) -> Row:
    (broken,) = steps([report], "broken")
    return {
        "server": peer.name,
        f"{WATCH_S:g} s later": {"1": "the old code serves", None: "**nothing serves**"}.get(
            serving, f"{serving} serves"
        ),
        "main process": "runs" if survived else "**gone**",
        "failed requests": f"{broken['failed']} of {broken['requests']}",
        "closed by the server": broken["closed_by_server"],
        "a good release then answers after s": "never" if repaired is None else f"{repaired:.2f}",
    }
