"""Requests per second and latency in the steady state, by wrk: side by side, in interleaved rounds.

All servers of one table run at the same time (an idle one costs nothing) and are loaded in turn, A B C A B C,
so that a change of the machine's mood hits all alike. Medians over the rounds; the ratio to Hitless is taken
round by round.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace

from benchmarks import processes
from benchmarks.options import Options
from benchmarks.results import Results, Row
from benchmarks.server import NotServing, Server, Setup, running

NAME = "throughput"
CONNECTIONS = 64
WARM_S = 1
PATHS = {"hello world": "/", "10 kB JSON": "/json"}
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True, slots=True)
class Round:
    """What one wrk run said."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    requests: int
    cpu_s: float = 0.0
    """What the server's processes used meanwhile."""

    @property
    def per_cpu_s(self) -> float:
        return self.requests / self.cpu_s if self.cpu_s else 0.0


async def measure(options: Options) -> Results:
    skipped: list[str] = []
    if shutil.which("wrk") is None:
        return Results(NAME, __doc__ or "", {}, ["everything (wrk is not installed)"])
    tables: dict[str, Sequence[Row]] = {}
    details: dict[str, object] = {}
    for workers in options.workers:
        async with AsyncExitStack() as stack:
            servers = await _start(options, stack, workers, skipped)
            for title, path in PATHS.items():
                rounds = await _rounds(options, servers, path, f"{title}, {workers} workers")
                for interface in ("asgi", "wsgi"):
                    mine = {
                        name: seen
                        for name, seen in rounds.items()
                        if servers[name].peer.interface == interface
                    }
                    name = f"{interface.upper()}, {title}, {workers} worker{'s' if workers > 1 else ''}"
                    tables[name] = _rows(mine)
                    details[name] = {peer: [asdict(one) for one in seen] for peer, seen in mine.items()}
    return Results(NAME, __doc__ or "", tables, sorted(set(skipped)), details)


async def _start(
    options: Options, stack: AsyncExitStack, workers: int, skipped: list[str]
) -> dict[str, Server]:
    servers: dict[str, Server] = {}
    for peer in options.peers(NAME, skipped):
        try:
            servers[peer.name] = await stack.enter_async_context(
                running(peer, Setup(options.python, workers))
            )
        except NotServing as error:
            options.note(f"{NAME}: {error}")
            skipped.append(f"{peer.name} with {workers} workers (did not start)")
    return servers


async def _rounds(
    options: Options, servers: dict[str, Server], path: str, title: str
) -> dict[str, list[Round]]:
    rounds: dict[str, list[Round]] = {name: [] for name in servers}
    for number in range(options.rounds):
        for name, server in servers.items():
            await wrk(f"{server.url}{path}", WARM_S)
            began = processes.cpu_s(server.pid)
            seen = await wrk(f"{server.url}{path}", options.seconds)
            seen = replace(seen, cpu_s=processes.cpu_s(server.pid) - began)
            rounds[name].append(seen)
            options.note(
                f"{title}, round {number + 1}: {name}: {seen.per_second:,.0f}/s, p99 {seen.p99_ms:.2f} ms"
            )
    return rounds


async def wrk(url: str, seconds: float) -> Round:
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency", url),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), seconds + 30)
    return parsed(out.decode())


def parsed(text: str) -> Round:
    """wrk's output."""
    count = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    errors += sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return Round(
        float(rate[1]) if rate else 0.0,
        _percentile(text, 50),
        _percentile(text, 99),
        errors,
        int(count[1]) if count else 0,
    )


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"\s{percent}%\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found[1]) * UNITS[found[2]] if found else 0.0


def _rows(rounds: dict[str, list[Round]]) -> list[Row]:
    ours = next((seen for name, seen in rounds.items() if name.startswith("hitless")), None)
    return [_row(name, seen, ours) for name, seen in rounds.items()]


def _row(name: str, seen: list[Round], ours: list[Round] | None) -> Row:
    row: dict[str, object] = {
        "server": name,
        "requests/s": f"{statistics.median(one.per_second for one in seen):,.0f}",
        "per CPU second": f"{statistics.median(one.per_cpu_s for one in seen):,.0f}",
        "p50 ms": f"{statistics.median(one.p50_ms for one in seen):.2f}",
        "p99 ms": f"{statistics.median(one.p99_ms for one in seen):.2f}",
        "errors": sum(one.errors for one in seen),
    }
    if ours:
        ratios = [
            our.per_second / one.per_second for our, one in zip(ours, seen, strict=True) if one.per_second
        ]
        if ratios:
            row["hitless is × as fast (least – most)"] = (
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
            )
    return row
