"""``python -m benchmarks [SUITE …]``: measure, print each table, and write benchmarks/results/."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from benchmarks import (
    agent,
    broken,
    live,
    longwork,
    machine,
    memory,
    notifications,
    reload,
    rollout,
    schema,
    throughput,
)
from benchmarks.options import Options

SUITES = {
    suite.NAME: suite
    for suite in (throughput, reload, broken, memory, longwork, live, schema, agent, notifications, rollout)
}
BUSY = 0.5


def main() -> None:
    """Run the suites that are named, or all; exit 1 if one of them missed what is promised."""
    arguments = _parser().parse_args()
    options = Options(
        python=arguments.peer_python,
        only=tuple(arguments.peers.split(",")) if arguments.peers else (),
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        reloads=arguments.reloads,
        workers=tuple(int(number) for number in arguments.workers.split(",")),
        import_s=arguments.import_seconds,
        reload_workers=arguments.reload_workers,
        rows=arguments.rows,
        databases=tuple(arguments.databases.split(",")),
    )
    if os.getloadavg()[0] > BUSY:
        options.note(f"the machine is busy (load average {os.getloadavg()[0]:.2f}): expect spread")
    facts = machine.describe(options.python)
    missed: list[str] = []
    for name in arguments.suites or SUITES:
        results = asyncio.run(SUITES[name].measure(options))
        files = results.write(arguments.out, machine=facts, command=machine.command())
        print(files[1].read_text())
        missed += results.missed
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Hitless beside its peers.")
    add = parser.add_argument
    add("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all if none is named")
    add("--peers", help="only those whose name begins with one of these, separated by commas")
    add("--peer-python", default=sys.executable, help="interpreter that has the peers; this one by default")
    add("--rounds", type=int, default=5, help="throughput: interleaved rounds")
    add(
        "--seconds",
        type=float,
        default=5.0,
        help="throughput: length of one measurement; reload: of the steady state",
    )
    add("--reloads", type=int, default=5, help="reload: how many")
    add("--workers", default="1,2", help="throughput: worker counts; the other suites have their own")
    add(
        "--import-seconds",
        type=float,
        default=1.0,
        help="reload: CPU time that the application's import burns",
    )
    add("--reload-workers", type=int, default=2, help="reload: worker processes")
    add("--rows", type=int, default=5_000_000, help="schema: rows of the table")
    add("--databases", default="sqlite,mariadb,postgres", help="schema: which")
    add("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
