"""Runs parts of the demonstration and says how it went."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import uvloop
from rich.console import Console

from hitless.demo import parts
from hitless.demo.narrator import Narrator, Silent, Told
from hitless.demo.report import DemoReport


def run(part: str | None = None, *, as_json: bool = False) -> int:
    """Run one part, or all that this machine can run; with `as_json` print one JSON object per part and line.

    Returns the exit code: 0 if all went as promised, 1 if anything failed, 2 if there is no such part.
    """
    narrator: Narrator = Silent() if as_json else Told(Console(highlight=False))
    try:
        chosen = [parts.load(name) for name in ([part] if part else parts.existing())]
        went_well = [_run(each, narrator, as_json=as_json) for each in chosen]
        return 0 if all(went_well) else 1
    except LookupError as error:
        _complain(str(error.args[0]))
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        _complain("interrupted; everything that the demo started was ended")
        return 1


def _run(part: parts.Part, narrator: Narrator, *, as_json: bool) -> bool:
    """Whether it went well, or was left out."""
    lacks = part.missing()
    if lacks is not None:
        _complain(f"left out: {part.TITLE}: {lacks}")
        return True
    report = uvloop.run(_played(part, narrator))
    if as_json:
        print(json.dumps(report.as_json()), flush=True)
    return report.ok


async def _played(part: parts.Part, narrator: Narrator) -> DemoReport:
    """SIGTERM ends it as Ctrl-C does: through the part's own clean-up."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    narrator.opened(part.TITLE)
    report = await part.play(narrator)
    narrator.closed(report)
    return report


def _complain(message: str) -> None:
    print(f"hitless: {message}", file=sys.stderr)
