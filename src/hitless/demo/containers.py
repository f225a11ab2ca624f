"""Containers that are stopped while a client waits for their answer: one that is quick, one that needs longer than engines
grant, one that does not listen; and beside them the same by the engine's own stop."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hitless.containers import Container, Engine, EngineError, Fleet, Hub, Intents, Target, parameters
from hitless.demo.narrator import Narrator
from hitless.demo.private_engine import IMAGE, empty_image, missing, mounts, some_engine
from hitless.demo.report import DemoReport, StepReport
from hitless.load import Request, RequestFailed, ask

TITLE: Final = "hitless demo containers: containers are stopped while they work"
READY_S: Final = 30.0
WAIT_S: Final = 60.0
STUBBORN_S: Final = 3.0
SLOW_S: Final = 13.0
"""Longer than the ten seconds after which engines kill."""
PROGRAM: Final = """
import http.server, signal, sys, threading, time

class Work(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seconds = float(self.path.strip("/") or 0)
        if seconds:
            print("working", flush=True)
        time.sleep(seconds)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"done.")

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

server = Server(("127.0.0.1", int(sys.argv[1])), Work)
stop = signal.SIG_IGN if sys.argv[2] == "stubborn" else lambda *_: threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, stop)
server.serve_forever()
server.server_close()
"""

__all__ = ["TITLE", "missing", "play"]


@dataclass(frozen=True, slots=True)
class Part:
    """One container, and what is to become of it."""

    name: str
    about: str
    seconds: float
    """Of the request that is under way when it is stopped; 0 for none."""
    ended: str
    wait_s: float = WAIT_S
    ours: bool = True
    """Whether Hitless stops it; else the engine does."""


PARTS: Final = (
    Part("quick", "needs 2 s for what it has; hitless containers stop", 2.0, "clean"),
    Part("slow", f"needs {SLOW_S:g} s; hitless containers stop", SLOW_S, "clean"),
    Part(
        "stubborn",
        f"does not listen to SIGTERM; hitless containers stop --wait {STUBBORN_S:g}s",
        0.0,
        "forced",
        STUBBORN_S,
    ),
    Part("slow, by the engine", f"needs {SLOW_S:g} s; docker stop", SLOW_S, "cut", ours=False),
)


async def play(narrator: Narrator) -> DemoReport:
    """Run it all; every container, and a private engine, is gone afterwards."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hitless-demo-", dir="/tmp")))
        folder.chmod(0o755)
        (folder / "work.py").write_text(PROGRAM.replace("\\\\\\\\n", "\\\\n"))
        stack.enter_context(_own_run_dir(folder / "r"))
        engine = await stack.enter_async_context(some_engine())
        hub = await stack.enter_async_context(Hub(engine))
        narrator.said(f"{engine.dialect.kind} {engine.dialect.version} at {engine.path}")
        stage = Stage(
            engine, Fleet(engine, hub, Intents(folder / "state", str(engine.path))), folder, narrator
        )
        try:
            steps = await stage.play(PARTS)
        finally:
            await asyncio.shield(stage.clear())
        return DemoReport("containers", tuple(steps))


@dataclass(slots=True)
class Stage:
    """The containers of one run."""

    engine: Engine
    fleet: Fleet
    folder: Path
    narrator: Narrator
    made: list[str] = field(default_factory=list)

    async def play(self, parts: Sequence[Part]) -> list[StepReport]:
        """All of them at the same time: that is how long it takes, and containers do not mind."""
        await self.engine.import_image(IMAGE, empty_image())
        up = [await self._started(part) for part in parts]
        steps = await asyncio.gather(*(self._stopped(part, *it) for part, it in zip(parts, up, strict=True)))
        for part, step in zip(parts, steps, strict=True):
            self.narrator.began(part.name, part.about)
            self.narrator.ended(step)
        return steps

    async def clear(self) -> None:
        for id_ in self.made:
            with suppress(EngineError):
                await self.engine.remove(id_, force=True)

    async def _started(self, part: Part) -> tuple[Container, str]:
        port = _free_port()
        body: dict[str, Any] = {
            "Image": IMAGE,
            "Cmd": [sys.executable, "/app/work.py", str(port), part.name],
            "HostConfig": {"NetworkMode": "host", "Binds": list(mounts(self.folder))},
        }
        id_ = await self.engine.create(f"hitless-demo-{os.getpid()}-{len(self.made)}", body)
        self.made.append(id_)
        await self.engine.start(id_)
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(READY_S):
            while True:
                if await _answers(url):
                    break
                await asyncio.sleep(0.1)
        return await self.engine.inspect(id_), url

    async def _stopped(self, part: Part, container: Container, url: str) -> StepReport:
        began = time.monotonic()
        work = asyncio.create_task(_works(url, part.seconds))
        if part.seconds:
            await self._working(container)
        ended = await self._stop(part, container)
        is_whole = await work
        requests, max_ms = (1, (time.monotonic() - began) * 1000) if part.seconds else (0, 0.0)
        if not part.ours:
            outcome = "cut: the engine killed it after 10 s, and said that all went well"
            return StepReport(
                part.name, outcome if not is_whole else "whole", requests, as_expected=not is_whole
            )
        failed = requests - is_whole
        return StepReport(part.name, ended, requests, failed, max_ms=max_ms, as_expected=ended == part.ended)

    async def _stop(self, part: Part, container: Container) -> str:
        if not part.ours:
            await self.engine.halt(container.id, 10, call_s=WAIT_S)
            return "cut"
        applied = parameters(container, self.engine.dialect, given={"wait": part.wait_s})
        outcome = await self.fleet.stop_one(Target(container, applied))
        self.narrator.said(outcome.message)
        return outcome.ended.value

    async def _working(self, container: Container) -> None:
        """Until it says that it has the request."""
        async with asyncio.timeout(READY_S):
            while True:
                if "working" in await self.engine.log_tail(container):
                    return
                await asyncio.sleep(0.1)


@contextmanager
def _own_run_dir(path: Path) -> Iterator[None]:
    """Control sockets of the demonstration's own."""
    before = os.environ.get("HITLESS_RUN_DIR")
    os.environ["HITLESS_RUN_DIR"] = str(path)
    try:
        yield
    finally:
        os.environ.pop("HITLESS_RUN_DIR")
        if before is not None:
            os.environ["HITLESS_RUN_DIR"] = before


async def _works(url: str, seconds: float) -> bool:
    """Whether the answer came."""
    if not seconds:
        return False
    try:
        await ask(f"{url}/{seconds:g}", Request(f"/{seconds:g}"), timeout_s=WAIT_S)
    except (RequestFailed, TimeoutError):
        return False
    return True


async def _answers(url: str) -> bool:
    with suppress(RequestFailed, TimeoutError):
        await ask(url)
        return True
    return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
