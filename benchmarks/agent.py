"""What the agent polls, through a pipeline to a file and to OTLP, beside Ceilometer's polling agent doing the same work.

One process polls `METERS` meters of `RESOURCES` resources `CYCLES` times, as fast as it goes: polling manager, filters, pipeline,
publisher. Ceilometer is the one on PyPI, in an environment of its own, with its own file publisher (JSON) and its own publisher for
OpenTelemetry, which sends one request per sample. In its favour its message bus is left out: what is polled goes straight to
the endpoint of its notification agent. Rounds are interleaved; medians, with the least and the most.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from benchmarks.options import Options
from benchmarks.results import Results, Row

NAME = "agent"
CEILOMETER: Final = "27.0.0"
APPS: Final = Path(__file__).parent / "apps"
METERS, RESOURCES, CYCLES = 20, 1000, 5
FEW: Final = 100
"""Resources, where each sample is a request."""
ROUNDS: Final = 3
INSTALL_S: Final = 900
RUN_S: Final = 600
FILE_FACTOR: Final = 3.0
"""Samples per second of processor time, ours to theirs, at least."""

Figures = Mapping[str, float]
MORE: list[Callable[[Options], Awaitable[tuple[str, Sequence[Row]]]]] = []
"""Further tables of this suite: each gives its title and rows."""


@dataclass(frozen=True, slots=True)
class Case:
    who: str
    to: str
    command: tuple[str, ...]
    """`{folder}` and `{port}` are filled in."""
    samples: int
    is_counted_by_receiver: bool


def _cases(ceilometer: Path | None) -> list[Case]:
    size, whole = (str(METERS), str(RESOURCES)), METERS * RESOURCES * CYCLES
    ours = (sys.executable, str(APPS / "agent_hitless.py"), *size, str(CYCLES))
    otlp = "otlp+http://127.0.0.1:{port}"
    cases = [
        Case("hitless", "file", (*ours, "file://{folder}/out.jsonl"), whole, False),
        Case("hitless", "OTLP, protobuf", (*ours, otlp), whole, True),
        Case("hitless", "OTLP, JSON", (*ours, f"{otlp}?encoding=json"), whole, True),
    ]
    if ceilometer is None:
        return cases
    theirs = (str(ceilometer), str(APPS / "agent_ceilometer.py"), "{folder}")
    name = f"ceilometer {CEILOMETER}"
    return [
        *cases,
        Case(name, "file", (*theirs, *size, str(CYCLES), "file://{folder}/out.jsonl?json"), whole, False),
        Case(
            name,
            "OTLP, JSON",
            (*theirs, str(METERS), str(FEW), "1", "opentelemetryhttp://127.0.0.1:{port}/v1/metrics"),
            METERS * FEW,
            True,
        ),
    ]


async def measure(options: Options) -> Results:
    skipped = []
    ceilometer: Path | None = None
    try:
        ceilometer = await asyncio.to_thread(_environment, options)
    except (OSError, subprocess.SubprocessError) as error:
        skipped.append(f"ceilometer {CEILOMETER} (it cannot be installed: {error})")
    found: dict[Case, list[Figures]] = {case: [] for case in _cases(ceilometer)}
    async with _receiver() as port:
        for _ in range(ROUNDS):
            for case, figures in found.items():
                figures.append(await _run(case, port))
                options.note(f"{case.who} to {case.to}: {figures[-1]}")
    rows = [_row(case, figures) for case, figures in found.items()]
    size = f"{METERS} meters of {RESOURCES} resources, {CYCLES} times"
    tables: dict[str, Sequence[Row]] = {size: rows}
    for more in MORE:
        title, extra = await more(options)
        tables[title] = extra
    return Results(
        NAME,
        __doc__ or "",
        tables,
        skipped,
        {f"{case.who} to {case.to}": figures for case, figures in found.items()},
        _missed(found),
    )


def _environment(options: Options) -> Path:
    """The interpreter of an environment that has Ceilometer; it is kept for the next run."""
    folder = Path(tempfile.gettempdir()) / f"hitless-bench-ceilometer-{CEILOMETER}"
    python = folder / "bin/python"
    if not (folder / "installed").exists():
        options.note(f"installing ceilometer {CEILOMETER}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=INSTALL_S)
        install = [str(python), "-m", "pip", "install", "-q", f"ceilometer=={CEILOMETER}"]
        subprocess.run(install, check=True, timeout=INSTALL_S, capture_output=True)
        (folder / "installed").touch()
    return python


@asynccontextmanager
async def _receiver() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(APPS / "agent_receiver.py"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def _run(case: Case, port: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="hitless-bench-") as folder:
        command = [each.format(folder=folder, port=port) for each in case.command]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=folder
        )
        async with asyncio.timeout(RUN_S):
            said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{case.who} to {case.to} ended with {process.returncode}")
        arrived = await asyncio.to_thread(_arrived, case, Path(folder), port)
    if arrived != case.samples:
        raise RuntimeError(f"{case.who} to {case.to}: {arrived} of {case.samples} samples arrived")
    figures: Figures = json.loads(said.splitlines()[-1])  # what stands before is its log
    return figures


def _arrived(case: Case, folder: Path, port: int) -> int:
    if not case.is_counted_by_receiver:
        with (folder / "out.jsonl").open("rb") as file:
            return sum(1 for _ in file)
    with urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        return int(answer.read())


def _row(case: Case, figures: Sequence[Figures]) -> Row:
    rates = [case.samples / each["seconds"] for each in figures]
    costs = [each["cpu_s"] / case.samples * 1e6 for each in figures]
    return {
        "agent": case.who,
        "to": case.to,
        "samples/s": f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
        "processor µs per sample": f"{statistics.median(costs):.1f} ({min(costs):.1f} to {max(costs):.1f})",
        "peak memory MB": f"{statistics.median(each['peak_kb'] for each in figures) / 1024:.0f}",
        "samples": f"{case.samples:,}",
    }


def _missed(found: Mapping[Case, Sequence[Figures]]) -> list[str]:
    """That ours costs a third of theirs at most is held against the processor time, which a busy machine changes less."""
    costs = {
        (case.who.split()[0], case.to): statistics.median(each["cpu_s"] / case.samples for each in figures)
        for case, figures in found.items()
    }
    return [
        f"to {to} a sample costs {costs['hitless', to] / cost:.2f} of ceilometer's, not below {1 / FILE_FACTOR:.2f}"
        for (who, to), cost in costs.items()
        if who == "ceilometer" and costs["hitless", to] * FILE_FACTOR > cost
    ]
