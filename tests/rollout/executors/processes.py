"""Processes that a test has started by way of an executor, told by a word of its own in their command lines."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

GONE_S = 60.0


def having(word: str) -> list[int]:
    """Ids of living processes with this word."""
    found = []
    for each in Path("/proc").iterdir():
        with suppress(OSError):
            if each.name.isdecimal() and word.encode() in (each / "cmdline").read_bytes().split(b"\0"):
                found.append(int(each.name))
    return found


def command_lines() -> bytes:
    """Of all processes."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(each.read_bytes())
    return b"\n".join(found)


async def until(word: str, *, are_there: bool) -> None:
    """Until there are some, or none."""
    async with asyncio.timeout(GONE_S):
        while True:
            if bool(having(word)) == are_there:
                return
            await asyncio.sleep(0.02)  # /proc has no events
