"""A load in a process of its own, so that what this process does is not measured."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

WARM_S = 30.0
END_S = 30.0


class LoadFailed(Exception):
    """The load did not get going, or gave no report."""


@dataclass(frozen=True, slots=True)
class Loader:
    """A running `python -m hitless.load --steps`; made by :func:`loading`."""

    process: asyncio.subprocess.Process

    def step(self, name: str) -> None:
        """Begin a step."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n".encode())

    async def finish(self) -> Mapping[str, Any]:
        """End the load; its report.

        Raises:
            LoadFailed: it gave none.
        """
        out, err = await asyncio.wait_for(self.process.communicate(b""), END_S)
        if not out:
            raise LoadFailed(err.decode(errors="replace"))
        report: Mapping[str, Any] = json.loads(out)
        return report


@asynccontextmanager
async def loading(url: str, *options: str) -> AsyncIterator[Loader]:
    """Start a load and wait until every client has been answered.

    Raises:
        LoadFailed: that did not happen.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hitless.load", url, "--steps", "--json", "--seconds", "3600", *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        first = await asyncio.wait_for(process.stderr.readline(), WARM_S)
        if first != b"warm\n":
            raise LoadFailed(first.decode(errors="replace"))
        yield Loader(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def steps(reports: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The step of this name of every report."""
    return [step for report in reports for step in report["steps"] if step["name"] == name]
