"""One peer, running: in a folder and on a port of its own, ended whatever happens."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.peers import APPS, Peer
from hitless.load import Failure, RequestFailed, ask

APPS_FOLDER = Path(__file__).parent / "apps"
START_S = 60.0
POLL_S = 0.02


class NotServing(Exception):
    """A peer did not come up, or went away."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How a peer is run in a suite."""

    python: str
    workers: int = 2
    import_s: float = 0.0
    state_mb: int = 0


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer runs: its port, and the folder with its release and its files."""

    peer: Peer
    setup: Setup
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def release(self, version: str) -> None:
        """Write another release, `broken` after its version if it is; nothing is told about it."""
        (self.folder / "release").write_text(version)
        for name, text in self.peer.files.items():
            path = self.folder / name
            path.write_text(text.format(**self.fields(version)))
            path.chmod(0o600)

    def fields(self, release: str) -> Mapping[str, object]:
        """What is filled into the command and the files."""
        version, _, condition = release.partition(" ")
        return {
            "python": self.setup.python,
            "hitless_python": sys.executable,
            "port": self.port,
            "workers": self.setup.workers,
            "app": APPS.get(self.peer.interface, ""),
            "folder": self.folder,
            "apps": APPS_FOLDER,
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "release": version,
            "broken": "nonsense;" if condition == "broken" else "",
        }

    def environ(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("HITLESS_", "BENCH_"))
        }
        return kept | {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(APPS_FOLDER), kept.get("PYTHONPATH")))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HITLESS_RUN_DIR": str(self.folder / "run"),
            "BENCH_RELEASE": str(self.folder / "release"),
            "BENCH_IMPORT_S": str(self.setup.import_s),
            "BENCH_STATE_MB": str(self.setup.state_mb),
        }


@dataclass(frozen=True, slots=True)
class Server:
    """A running peer; made by :func:`running`."""

    site: Site
    process: asyncio.subprocess.Process

    @property
    def peer(self) -> Peer:
        return self.site.peer

    @property
    def setup(self) -> Setup:
        return self.site.setup

    @property
    def url(self) -> str:
        return self.site.url

    @property
    def pid(self) -> int:
        """Its main process."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def reload(self, version: str) -> None:
        """Write another release and tell the main process by SIGHUP: what each of them, Hitless too, takes
        for "reload"."""
        self.site.release(version)
        if self.alive:
            self.process.send_signal(signal.SIGHUP)

    async def version(self) -> str | None:
        """The version that answers on a fresh connection; None if none does."""
        try:
            return (await ask(f"{self.url}/version", timeout_s=5.0)).body.decode().split()[0]
        except (RequestFailed, TimeoutError):
            return None

    def log_tail(self) -> str:
        return "\n".join(self.site.log.read_text(errors="replace").splitlines()[-15:])


@asynccontextmanager
async def running(peer: Peer, setup: Setup) -> AsyncIterator[Server]:
    """Start `peer` and wait until it answers.

    Raises:
        NotServing: it ended, or did not answer within the deadline.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        site = Site(peer, setup, _free_port(), Path(folder))
        site.release("1")
        with site.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(part.format(**site.fields("1")) for part in peer.command),
                cwd=APPS_FOLDER,
                env=site.environ(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            server = Server(site, process)
            await _ready(server)
            yield server
        finally:
            await asyncio.to_thread(processes.end, process.pid)
            await process.wait()


async def _ready(server: Server) -> None:
    """Until it answers, every worker with it."""
    try:
        async with asyncio.timeout(START_S):
            while True:
                if not server.alive:
                    raise NotServing(
                        f"{server.peer.name} ended with {server.process.returncode}\n{server.log_tail()}"
                    )
                try:
                    await ask(f"{server.url}/version")
                    break
                except RequestFailed as error:
                    if error.failure is not Failure.REFUSED and error.failure is not Failure.RESET:
                        raise NotServing(f"{server.peer.name}: {error}\n{server.log_tail()}") from error
                await asyncio.sleep(POLL_S)
            await _all_workers(server)
    except TimeoutError:
        raise NotServing(
            f"{server.peer.name} is not ready after {START_S:g} s\n{server.log_tail()}"
        ) from None


async def _all_workers(server: Server) -> None:
    """Until as many processes have answered as there are workers, or long enough to believe that all have
    started: a server is not measured while its other workers still import."""
    seen: set[str] = set()
    until = asyncio.get_running_loop().time() + 1.0 + server.setup.workers * server.setup.import_s
    while len(seen) < server.setup.workers and asyncio.get_running_loop().time() < until:
        answers = await asyncio.gather(
            *(ask(f"{server.url}/version") for _ in range(8)), return_exceptions=True
        )
        seen |= {each.body.decode() for each in answers if not isinstance(each, BaseException)}
        await asyncio.sleep(POLL_S)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
