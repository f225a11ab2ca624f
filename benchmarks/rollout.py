"""What a rollout of many nodes costs the process that runs it: time and memory per node.

Every node is a real process that is stopped, upgraded and started by shell commands of the `local` executor, behind a real
HAProxy; each is drained, probed, given traffic and watched for 10 ms. `by hand` is what the four commands of one node take
without anything around them. The runner's CPU is without that of the commands; memory is what the runner's peak is above what it
had before it began.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.rollout.crowd import Cost, running_crowd

from benchmarks.options import Options
from benchmarks.results import Results, Row

NAME = "rollout"
RUNS = ((20, 1), (20, 10), (200, 10), (200, 50))
"""Nodes, and how many at once."""


async def measure(options: Options) -> Results:
    """Each size once; the machine must hold so many processes."""
    rows: list[Row] = []
    details: dict[str, object] = {}
    for nodes, batch in RUNS:
        options.note(f"rollout: {nodes} nodes, {batch} at once")
        with (
            tempfile.TemporaryDirectory(prefix="hitless-bench-") as path,
            running_crowd(Path(path), nodes) as crowd,
        ):
            hand = statistics.median(crowd.by_hand() for _ in range(5))
            cost = crowd.run(batch=batch)
            assert {crowd.release(name) for name in crowd.addresses} == {"2"}
        rows.append(_row(nodes, batch, cost, hand))
        details[f"{nodes}/{batch}"] = {"nodes": nodes, "batch": batch, "by_hand_s": hand, **_raw(cost)}
    return Results(NAME, (__doc__ or "").strip(), {"Whole rollouts": rows}, details=details)


def _row(nodes: int, batch: int, cost: Cost, hand: float) -> Row:
    return {
        "nodes": nodes,
        "at once": batch,
        "whole s": f"{cost.wall_s:.1f}",
        "ms per node": f"{cost.wall_s / nodes * 1000:.0f}",
        "by hand ms": f"{hand * 1000:.0f}",
        "runner CPU ms per node": f"{cost.cpu_s / nodes * 1000:.0f}",
        "memory MiB": f"{(cost.memory_kib - cost.memory_before_kib) / 1024:.1f}",
        "KiB per node": f"{(cost.memory_kib - cost.memory_before_kib) / nodes:.0f}",
    }


def _raw(cost: Cost) -> dict[str, object]:
    return {name: getattr(cost, name) for name in Cost.__slots__}
