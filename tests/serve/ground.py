"""Where broken changes are tried: one service under keep-alive load, and a record of everything that it holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hitless.control import ControlClient
from hitless.load import Load, Report, StepReport, ask
from hitless.load.exchange import Request
from serve.service import Result, Service, running, wait_for, write_app

T = TypeVar("T")
CLIENTS = 8
SETTLED_S = 3.0


class BackgroundLoad:
    """A `Load` on an event loop of its own, so that a test may block."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="load", daemon=True)
        self._thread.start()
        self._load = self._call(self._begin(url))

    async def _begin(self, url: str) -> Load:
        load = Load(url, clients=CLIENTS, think=(0.02, 0.1))
        await load.__aenter__()
        await load.warm()
        return load

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def step(self, name: str) -> None:
        async def begin() -> None:
            self._load.step(name)

        self._call(begin())

    def more(self, requests: int) -> None:
        """Returns when so many more requests have been answered."""
        self._call(self._load.more(requests))

    def stats(self, name: str) -> StepReport:
        async def look() -> StepReport:
            return self._load.stats(name)

        return self._call(look())

    def stop(self) -> Report:
        report = self._call(self._load.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        return report


@dataclass(frozen=True)
class Holdings:
    """What a broken change must leave as it was."""

    processes: frozenset[int]
    """The supervisor's descendants, all of them."""
    descriptors: int
    listening: frozenset[str]
    """Inodes of the sockets that it listens on."""
    leftovers: frozenset[str]
    """Socket files in its folder."""

    @classmethod
    def of(cls, pid: int, folder: Path) -> Holdings:
        # The tables first: a command's connection that is closed in between is then in neither.
        listening, asking = _sockets(str(folder / "run"))
        links = list(_links(pid))
        inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
        return cls(
            frozenset(_descendants(pid)),
            len(links) - len(inodes & asking),
            frozenset(inodes & listening),
            frozenset(each.name for each in folder.iterdir() if each.is_socket()),
        )


def _links(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(entry.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            try:
                yield from _descendants(int(child))
            except (FileNotFoundError, ProcessLookupError):
                continue


def _sockets(control: str) -> tuple[set[str], set[str]]:
    """Inodes of all listening sockets, and of the commands' connections to control sockets below `control`."""
    listening, asking = set(), set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            row = line.split()
            if row[3] == "0A":
                listening.add(row[9])
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        row = line.split()
        if int(row[3], 16) & 0x10000:  # __SO_ACCEPTCON
            listening.add(row[6])
        elif len(row) > 7 and row[7].startswith(control):
            asking.add(row[6])
    return listening, asking


@dataclass
class Ground:
    """A service that is broken again and again, and put right each time."""

    service: Service
    load: BackgroundLoad
    good: dict[str, Any]
    url: str
    cleanup: ExitStack = field(default_factory=ExitStack)
    _versions: int = 1

    @property
    def folder(self) -> Path:
        return self.service.folder

    @property
    def control(self) -> Path:
        return self.folder / "run" / f"{self.good['name']}.sock"

    def call(self, method: str) -> Any:
        with ControlClient(self.control, 60.0) as client:
            return client.call(method)

    def answer(self) -> str:
        """What a client without a connection gets: `VERSION PID LENGTH`."""
        request = Request(keep_body=True, headers=(("Connection", "close"),))
        return asyncio.run(ask(self.url, request)).body.decode()

    @property
    def version(self) -> str:
        return f"v{self._versions}"

    def set(self, **changes: Any) -> None:
        """Writes a configuration that differs from the good one; None leaves a key out."""
        self.service.settings = dict(self.good)
        self.service.configure(**changes)

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Changes the text of the configuration file."""
        self.service.config.write_text(change(self.service.config.read_text()))

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def holdings(self) -> Holdings:
        return Holdings.of(self.service.pid, self.folder)

    def await_quiet(self) -> None:
        """Returns when nothing drains or changes any more."""

        def is_quiet() -> bool:
            seen = self.call("status")
            return not seen["drains"] and not seen["busy"]

        wait_for(is_quiet, 30.0, what="the drains have ended", else_say=lambda: self.service.log)

    def put_right(self) -> None:
        """The good configuration and new, good code."""
        self.cleanup.close()
        self._versions += 1
        if self.service.config.is_dir():
            self.service.config.rmdir()
        self.service.config.unlink(missing_ok=True)
        self.set()
        write_app(self.folder, self.version)

    def assert_good_reload_works(self) -> None:
        before = self.call("status")["generation"]
        self.put_right()
        answer = self.call("reload")
        assert answer["outcome"]["status"] == "applied", answer["outcome"]
        assert answer["outcome"]["generation"] > before
        assert self.answer().split()[0] == self.version

    def reload(self, *arguments: str) -> Result:
        """A real `hitless reload`."""
        result = self.service.command("reload", str(self.control), "--json", *arguments)
        assert result.out, f"{result.err}\n{self.service.log[-2000:]}"
        return result

    def assert_unharmed(self, apply: Callable[[], T], step: str) -> T:
        """Runs `apply`, which must leave everything as it was; returns what it returns."""
        self.await_quiet()
        version, generation, holdings = (
            self.answer().split()[0],
            self.call("status")["generation"],
            self.holdings(),
        )
        self.load.step(step)
        self.load.more(CLIENTS)
        result = apply()
        self.load.more(2 * CLIENTS)
        seen = self.load.stats(step)
        assert seen.failed == 0, seen.as_json()
        assert seen.closed_by_server == 0, seen.as_json()
        assert self.call("status")["generation"] == generation
        assert self.answer().split()[0] == version, "the old code answers"
        wait_for(
            lambda: self.holdings() == holdings,
            SETTLED_S,
            what="the service holds what it held before",
            else_say=lambda: f"before: {holdings}\n   now: {self.holdings()}\n{self.service.log[-1000:]}",
        )
        return result


@contextmanager
def ground(folder: Path, *, preexec: Callable[[], None] | None = None, **settings: Any) -> Iterator[Ground]:
    """A service in `folder` under load; its clients must have kept their connections to the end."""
    write_app(folder)
    with running(folder, preexec=preexec, name="broken", **settings) as service:
        host, port = service.address
        url = f"http://{host}:{port}/"
        load = BackgroundLoad(url)
        try:
            yield Ground(service, load, dict(service.settings), url)
        finally:
            report = load.stop()
        assert report.failed == 0, report.as_json()
        assert report.closed_by_server == 0, report.as_json()
        assert report.connections == (1,) * CLIENTS
