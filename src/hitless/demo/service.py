"""The demonstration's service as an operator has it: a process, and commands that talk to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

COMMAND_S = 30.0
END_S = 15.0
TAIL_LINES = 20


class ServiceFailed(Exception):
    """The service did not start, or a command gave no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command returned."""

    code: int
    data: Mapping[str, object]
    """Its JSON; empty if there was none."""
    error: str

    @property
    def outcome(self) -> Mapping[str, object]:
        outcome = self.data.get("outcome")
        return outcome if isinstance(outcome, dict) else {}

    def __str__(self) -> str:
        said = self.outcome.get("message") or self.error.strip() or "nothing said"
        reason = self.outcome.get("reason")
        return f"exit {self.code}" + (f", {reason}" if reason else "") + f": {said}"


@dataclass(frozen=True, slots=True)
class Service:
    """A process with a control socket, such as one `hitless serve`, made by :func:`serving`."""

    name: str
    process: asyncio.subprocess.Process
    environ: Mapping[str, str]
    log: Path

    async def command(self, *words: str) -> Answer:
        """Run `hitless WORD NAME --json …`.

        Raises:
            ServiceFailed: no exit within the deadline, or no JSON where it should be.
        """
        verb, *rest = words
        return await hitless(verb, self.name, *rest, "--json", environ=self.environ)

    async def exited(self, timeout_s: float = END_S) -> int:
        """Wait until it has ended; its exit code.

        Raises:
            ServiceFailed: it has not.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self.process.wait()
        except TimeoutError:
            raise ServiceFailed(f"the service did not end within {timeout_s:g} s{self.tail()}") from None

    def check_alive(self) -> None:
        """That it has not ended.

        Raises:
            ServiceFailed: it has.
        """
        if self.process.returncode is not None:
            raise ServiceFailed(f"the service ended with {self.process.returncode}{self.tail()}")

    def tail(self) -> str:
        """The end of its log, for a message."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "".join(f"\n    {line}" for line in lines)


@asynccontextmanager
async def serving(name: str, config: Path, *, log: Path) -> AsyncIterator[Service]:
    """Start `hitless serve -c config` with control socket and journal in the config's folder; on leaving it
    has ended, with all its workers, whatever happened."""
    environ = clean_environ(config.parent)
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hitless", "serve", "-c", str(config)),
            cwd=config.parent,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            # Ctrl-C in a terminal goes to its foreground group; the service is to be ended in order, by us.
            start_new_session=True,
        )
    service = Service(name, process, environ, log)
    try:
        yield service
    finally:
        await asyncio.shield(end(process))


async def hitless(*words: str, environ: Mapping[str, str]) -> Answer:
    """Run a command of Hitless.

    Raises:
        ServiceFailed: no exit within the deadline, or no JSON where it should be.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hitless", *words),
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise ServiceFailed(f"hitless {' '.join(words)} did not end within {COMMAND_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Answer(process.returncode or 0, _object(out), err.decode(errors="replace"))


def clean_environ(folder: Path, run: str = "r") -> dict[str, str]:
    """This process's environment without settings of the user's own services, and with the sockets in the
    folder `run` of `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HITLESS_")}
    # A release that is written within a second of the one before, in as many bytes, would run from the old
    # one's .pyc.
    return kept | {"HITLESS_RUN_DIR": str(folder / run), "PYTHONDONTWRITEBYTECODE": "1"}


def _object(out: bytes) -> Mapping[str, object]:
    with suppress(ValueError):
        parsed = json.loads(out)
        if isinstance(parsed, dict):
            return parsed
    return {}


async def end(process: asyncio.subprocess.Process) -> None:
    """Stop a process that leads a session: gracefully if it still runs; then kill what is left of the session."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
