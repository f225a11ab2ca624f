"""What a test needs to kill processes of a service at exact moments, and to know what they held."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import textwrap
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitless.control import ControlClient, ControlError, socket_path
from hitless.serve.faults import VARIABLE
from serve.service import Service

GATED_APP = """
import asyncio, os, pathlib

HERE = pathlib.Path(__file__).parent
VERSION = {version!r}

def gate(name):
    # Waits for a writer, if there is a pipe of this name; blocks the whole process, as hanging code does.
    try:
        fd = os.open(HERE / name, os.O_RDONLY)
    except FileNotFoundError:
        return
    os.read(fd, 1)
    os.close(fd)

gate("import")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        gate("lifespan")
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    path = scope["path"]
    if path == "/health":
        gate("health")
    if path == "/die":
        os._exit(9)
    if path == "/block":
        gate("block")
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"x-pid", str(os.getpid()).encode())]}})
    if path == "/slow":
        await send({{"type": "http.response.body", "body": b"begun", "more_body": True}})
        while not (HERE / "release").exists():
            await asyncio.sleep(0.02)
    await send({{"type": "http.response.body", "body": f"{{VERSION}} done".encode()}})
"""


def write_gated_app(folder: Path, version: str = "v1", *, more: str = "") -> None:
    """An application that waits at its import, startup, health request or a request, where a pipe says so."""
    (folder / "app.py").write_text(textwrap.dedent(GATED_APP).format(version=version) + textwrap.dedent(more))


@dataclass
class Mortal(Service):
    """A service whose supervisor can be stopped or killed at the points of `hitless.serve.faults`."""

    mark: str = "first"
    """Tells the processes of this service from those of one that is started after it in the same folder."""
    _held: dict[str, int] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, VARIABLE: str(self.fault)}

    @property
    def fault(self) -> Path:
        return self.folder / f"{self.mark}.fault"

    def arm(self, action: str, point: str, count: int = 1) -> None:
        self.fault.write_text(f"{action} {point} {count}")

    def control(self, method: str, **params: Any) -> Any:
        path = socket_path(self.name, self.environ)
        with ControlClient(path, timeout_s=30.0) as client:
            return client.call(method, params)

    async def ask(self, method: str, **params: Any) -> Any:
        return await asyncio.to_thread(lambda: self.control(method, **params))

    async def ask_in_vain(self, method: str, **params: Any) -> None:
        """Asks a supervisor that is about to die."""
        with suppress(ControlError):
            await self.ask(method, **params)

    def processes(self) -> set[int]:
        """Everything alive that descends from the supervisor, the supervisor included, orphaned or not."""
        mark = f"{VARIABLE}={self.fault}".encode()
        return {pid for pid in all_pids() if is_alive(pid) and mark in read(pid, "environ").split(b"\0")}

    def workers(self, generation: int | None = None) -> set[int]:
        """Pids of workers that have come as far as their name."""
        end = b":g" if generation is None else b":g%d" % generation
        found = {pid: read(pid, "comm").strip() for pid in self.processes()}
        return {
            pid for pid, name in found.items() if (end in name if generation is None else name.endswith(end))
        }

    def templates(self) -> set[int]:
        return self.processes() - self.workers() - {self.pid}

    def close_gate(self, name: str) -> None:
        os.mkfifo(self.folder / name)

    def is_somebody_at(self, gate: str) -> bool:
        """Whether a process waits at the gate. It goes on waiting, because a writer stays."""
        try:
            writer = os.open(self.folder / gate, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        if self._held.setdefault(gate, writer) != writer:
            os.close(writer)
        return True

    async def somebody_at(self, gate: str) -> None:
        await until(lambda: self.is_somebody_at(gate), f"somebody waits at {gate}")

    def open_gate(self, name: str) -> None:
        """Lets everybody through, now and later."""
        away = self.folder / f"{name}.open"
        (self.folder / name).rename(away)
        with suppress(OSError):
            os.close(os.open(away, os.O_WRONLY | os.O_NONBLOCK))
        if name in self._held:
            os.close(self._held.pop(name))
        away.unlink()

    def kill_all(self) -> None:
        """Whatever is left of it: for the end of a test that has failed."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read(pid: int, name: str) -> bytes:
    """A file of /proc/PID, empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def state_of(pid: int) -> str:
    """R, S, T (stopped), Z … of proc(5); empty if there is no such process."""
    return read(pid, "stat").rpartition(b")")[2].strip()[:1].decode()


def is_alive(pid: int) -> bool:
    return state_of(pid) not in ("", "Z", "X")


def connections_of(pid: int, port: int) -> int:
    """Established connections to `port` of this machine that the process holds."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if int(columns[1].rpartition(":")[2], 16) == port and columns[3] in ("01", "08"):
            inodes.add(f"socket:[{columns[9]}]")
    held = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            held += str(fd.readlink()) in inodes
    return held


async def until(is_so: Callable[[], bool | Awaitable[bool]], what: str, timeout_s: float = 20.0) -> None:
    """Waits for a condition of another process that has no event of its own."""
    async with asyncio.timeout(timeout_s) as scope:
        try:
            while True:
                answer = is_so()
                if (await answer) if isinstance(answer, Awaitable) else answer:
                    return
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            if not scope.expired():
                raise
            raise AssertionError(f"not within {timeout_s} s: {what}") from None


async def stopped(pid: int) -> None:
    await until(lambda: state_of(pid) == "T", f"{pid} stops")


async def freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    await stopped(pid)


def thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


@dataclass
class InFlight:
    """A request whose answer has begun and does not end before `release`."""

    folder: Path
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes

    @classmethod
    async def begin(cls, folder: Path, port: int) -> InFlight:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
        async with asyncio.timeout(10):
            return cls(folder, reader, writer, await reader.readuntil(b"begun"))

    @property
    def pid(self) -> int:
        """Of the worker that answers."""
        return int(self.head.partition(b"x-pid: ")[2].split()[0])

    async def finish(self) -> bytes:
        """Releases it; what came after the beginning."""
        (self.folder / "release").touch()
        try:
            async with asyncio.timeout(10):
                return (await self.reader.readuntil(b"done")).rpartition(b"\r\n")[2]
        finally:
            self.writer.close()


def free_port() -> int:
    """A port that no client of another test is given: below the range of ephemeral ports."""
    for port in range(20000 + os.getpid() % 5000, 32000):
        if port not in _given:
            with socket.socket() as sock, suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("127.0.0.1", port))
                _given.add(port)
                return port
    raise AssertionError("no free port")


_given: set[int] = set()
