"""What clients notice of reloads: an application that burns CPU at import is reloaded while keep-alive
clients use it.

Two loads run at once, each in a process of its own. 64 clients think 0 to 3 s between requests and do not
look at their idle connections meanwhile (as http.client does not): they meet every connection that the server
closed as idle. 8 clients think 0 to 30 ms: they make enough requests for a p99.9. One request in five is a
POST with a body of 4 kB. No client retries. The reload is a SIGHUP.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.follow import Turn, follow
from benchmarks.loader import LoadFailed, loading, steps
from benchmarks.options import Options
from benchmarks.peers import Peer
from benchmarks.results import Results, Row, reason
from benchmarks.server import NotServing, Setup, running

NAME = "reload"
BETWEEN_S = 5.0
"""From one reload to the next, at least: longer than any client thinks."""
THINKERS = ("--clients", "64", "--think", "0:3", "--blind")
BUSY = ("--clients", "8", "--think", "0:0.03", "--seed", "1")
POSTS = ("--posts", "0.2", "--body", "4096", "--chunked", "0")


async def measure(options: Options) -> Results:
    skipped: list[str] = []
    rows: list[Row] = []
    details: dict[str, object] = {}
    for peer in options.peers(NAME, skipped):
        try:
            turns, reports = await _one(peer, options)
        except (NotServing, LoadFailed, TimeoutError) as error:
            options.note(f"{NAME}: {peer.name}: {error}")
            skipped.append(f"{peer.name} ({reason(error)})")
            continue
        rows.append(_row(peer, turns, reports))
        details[peer.name] = {"turns": [_turn(turn) for turn in turns], "loads": reports}
        options.note(f"{NAME}: {rows[-1]}")
    title = f"{options.reloads} reloads, {options.reload_workers} workers, the import burns {options.import_s:g} s"
    return Results(NAME, __doc__ or "", {title: rows}, skipped, details)


async def _one(peer: Peer, options: Options) -> tuple[list[Turn], list[Mapping[str, Any]]]:
    setup = Setup(options.python, options.reload_workers, import_s=options.import_s)
    posts = POSTS if peer.takes_posts else ()
    turns: list[Turn] = []
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(peer, setup))
        loads = [
            await stack.enter_async_context(loading(server.url, *kind, *posts, "--timeout", "15"))
            for kind in (THINKERS, BUSY)
        ]
        await asyncio.sleep(options.seconds)
        for load in loads:
            load.step("reloads")
        for number in range(options.reloads):
            began = time.monotonic()
            server.reload(str(number + 2))
            turns.append(await follow(server, str(number + 2)))
            await asyncio.sleep(max(0.0, began + BETWEEN_S - time.monotonic()))
        return turns, [await load.finish() for load in loads]


def _row(peer: Peer, turns: Sequence[Turn], reports: Sequence[Mapping[str, Any]]) -> Row:
    thinkers, busy = steps(reports, "reloads")
    calm = steps(reports, "steady")[1]["latency_ms"]
    failures: Counter[str] = Counter(thinkers["failures"]) + Counter(busy["failures"])
    closes: Counter[str] = Counter(thinkers["closes"]) + Counter(busy["closes"])
    stayed = [report["clients"] - report["reopened_clients"] for report in reports]
    return {
        "server": peer.name,
        "requests": thinkers["requests"] + busy["requests"],
        "failed": _listed(failures),
        "closed by the server": _listed(closes),
        "clients on their first connection": f"{sum(stayed)} of {sum(report['clients'] for report in reports)}",
        "p99.9 ms, steady → reloads": f"{calm['p99.9']:.0f} → {busy['latency_ms']['p99.9']:.0f}",
        "worst ms": f"{max(thinkers['latency_ms']['max'], busy['latency_ms']['max']):.0f}",
        "new code answers after s": _span([turn.first_new_s for turn in turns]),
        "old code answers until s": _span([turn.last_old_s for turn in turns]),
        "fresh connections unanswered": sum(turn.unanswered for turn in turns),
    }


def _listed(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    parts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"**{total}**" + (f" ({parts})" if total else "")


def _span(seconds: Sequence[float | None]) -> str:
    """Least to most; `never` where a reload did not happen."""
    known = sorted(second for second in seconds if second is not None)
    if not known:
        return "never"
    missed = f", {len(seconds) - len(known)} × never" if len(known) < len(seconds) else ""
    return f"{known[0]:.2f} – {known[-1]:.2f}{missed}"


def _turn(turn: Turn) -> Mapping[str, object]:
    return {"first_new_s": turn.first_new_s, "last_old_s": turn.last_old_s, "unanswered": turn.unanswered}
