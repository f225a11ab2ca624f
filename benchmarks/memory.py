"""What four workers of an application with 100 MB of imported state weigh, at rest and during a reload.

PSS of the whole process tree (a page shared by n processes counts 1/n in each, so the sum counts it once),
after every worker has read its state for two seconds of load, because reading Python objects writes their
reference counts. The peak is the largest of samples taken every 0.1 s during a reload by SIGHUP.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from dataclasses import dataclass

from benchmarks import processes
from benchmarks.follow import follow
from benchmarks.options import Options
from benchmarks.peers import Peer
from benchmarks.results import Results, Row, reason
from benchmarks.server import APPS_FOLDER, NotServing, Server, Setup, running
from benchmarks.throughput import wrk

NAME = "memory"
WORKERS = 4
STATE_MB = 100
SAMPLE_S = 0.1
TOUCH_S = 2


@dataclass(frozen=True, slots=True)
class Weight:
    """MiB."""

    rest: float
    others: float
    """At rest, without the main process: workers, and what they were forked from."""
    peak: float
    after: float
    main_rss: float


async def measure(options: Options) -> Results:
    skipped: list[str] = []
    rows: list[Row] = []
    single = await asyncio.to_thread(_single, options.python)
    for peer in options.peers(NAME, skipped):
        try:
            weight = await _one(peer, options)
        except NotServing as error:
            options.note(f"{NAME}: {error}")
            skipped.append(f"{peer.name} ({reason(error)})")
            continue
        rows.append(_row(peer, weight, single))
        options.note(f"{NAME}: {rows[-1]}")
    title = f"{WORKERS} workers, {STATE_MB} MB of state; one plain process with it: {single:.0f} MiB"
    return Results(NAME, __doc__ or "", {title: rows}, skipped, {"one process": single})


def _single(python: str) -> float:
    """PSS of one interpreter that has imported the application."""
    environ = {"PYTHONPATH": str(APPS_FOLDER), "BENCH_RELEASE": "/dev/null", "BENCH_STATE_MB": str(STATE_MB)}
    code = "import bench_asgi; print(flush=True); input()"
    with subprocess.Popen(
        [python, "-c", code], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as popen:
        try:
            assert popen.stdout is not None
            popen.stdout.readline()
            return processes.pss(popen.pid)
        finally:
            popen.kill()


async def _one(peer: Peer, options: Options) -> Weight:
    async with running(peer, Setup(options.python, WORKERS, state_mb=STATE_MB)) as server:
        await wrk(f"{server.url}/touch", TOUCH_S)
        rest = await asyncio.to_thread(processes.memory, server.pid)
        others = rest.pss - processes.pss(server.pid)
        main_rss = processes.rss(server.pid)
        peak = await _reloaded(server)
        await wrk(f"{server.url}/touch", TOUCH_S)
        after = await asyncio.to_thread(processes.memory, server.pid)
        return Weight(rest.pss, others, peak, after.pss, main_rss)


async def _reloaded(server: Server) -> float:
    """Reload; the largest PSS seen until the new code alone answers."""
    over = asyncio.Event()
    sampling = asyncio.create_task(_peak(server, over))
    server.reload("2")
    await follow(server, "2")
    over.set()
    return await sampling


async def _peak(server: Server, over: asyncio.Event) -> float:
    peak = 0.0
    while not over.is_set():
        began = time.monotonic()
        peak = max(peak, (await asyncio.to_thread(processes.memory, server.pid)).pss)
        await asyncio.sleep(max(0.0, began + SAMPLE_S - time.monotonic()))
    return peak


def _row(peer: Peer, weight: Weight, single: float) -> Row:
    return {
        "server": peer.name,
        "at rest MiB": f"{weight.rest:.0f} ({weight.rest / single:.2f} ×)",
        "without the main process MiB": f"{weight.others:.0f} ({weight.others / single:.2f} ×)",
        "peak in a reload MiB": f"{weight.peak:.0f} ({weight.peak / single:.2f} ×)",
        "after it MiB": f"{weight.after:.0f} ({weight.after / single:.2f} ×)",
        "main process RSS MiB": f"{weight.main_rss:.0f}",
        "note": peer.note,
    }
