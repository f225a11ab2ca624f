"""Private HAProxys on free ports of 127.0.0.1, in temporary folders."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.account import tool
from tests.servers.ports import free_port

START_S = 60.0
STOP_S = 20.0

GLOBAL = """\
global
  stats socket {folder}/admin.sock level admin
  stats socket {folder}/user.sock level user
  stats socket ipv4@127.0.0.1:{admin} level admin
  {global_lines}
defaults
  timeout connect 10s
  timeout client 120s
  timeout server 120s
  timeout queue 60s
  {default_lines}
"""


@dataclass(slots=True)
class HAProxyServer:
    """One that runs. `body` are its frontends and backends; {port} in it is the port of clients, {folder} its folder."""

    folder: Path
    port: int
    admin: int
    body: str
    global_lines: str = ""
    default_lines: str = ""
    has_master: bool = False
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)
    _old: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.log = self.folder / "log"

    @property
    def socket(self) -> str:
        return str(self.folder / "admin.sock")

    @property
    def master(self) -> str:
        return str(self.folder / "master.sock")

    @property
    def tcp(self) -> str:
        return f"tcp://127.0.0.1:{self.admin}"

    def write(self) -> Path:
        path = self.folder / "haproxy.cfg"
        fill = {"folder": self.folder, "port": self.port, "admin": self.admin}
        head = GLOBAL.format(
            **fill,
            global_lines=self.global_lines.format(**fill),
            default_lines=self.default_lines.format(**fill),
        )
        path.write_text(head + self.body.format(**fill))
        return path

    def start(self) -> None:
        words = [tool("haproxy", "haproxy"), "-f", str(self.write()), "-db"]
        if self.has_master:
            words = [*words[:-1], "-W", "-S", self.master]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.wait()

    def wait(self) -> None:
        """Until its socket answers."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"haproxy did not start: {self.log.read_text()[-3000:]}")
            time.sleep(0.02)  # it has no event to wait for

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(self.socket)
            connection.sendall(command.encode() + b"\n")
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
            return b"".join(parts).decode()

    def reload(self) -> None:
        """A new process; with a master by its signal, without as distributions did it before (`-sf`)."""
        assert self.process is not None
        before = self._pid()
        if self.has_master:
            self.process.send_signal(signal.SIGUSR2)
        else:
            words = [tool("haproxy", "haproxy"), "-f", str(self.write()), "-db", "-sf", str(self.process.pid)]
            with self.log.open("ab") as log:
                self._old = self.process
                self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while self._pid() in (before, None):
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        for process in (self._old, self.process):
            if process is not None:
                process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_S)
                if process.poll() is None:
                    process.kill()
                    process.wait()
        self._old = self.process = None

    def _pid(self) -> int | None:
        with suppress(OSError):
            for line in self.ask("show info").splitlines():
                if line.startswith("Pid: "):
                    return int(line.split()[1])
        return None

    def _answers(self) -> bool:
        if self.has_master:
            with socket.socket(socket.AF_UNIX) as connection:
                try:
                    connection.connect(self.master)
                except OSError:
                    return False
        return self._pid() is not None


@contextmanager
def running_haproxy(body: str, **options: object) -> Iterator[HAProxyServer]:
    """Started, and stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="hitless-haproxy-", dir="/tmp") as path:
        server = HAProxyServer(Path(path), free_port(), free_port(), body, **options)  # type: ignore[arg-type]
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGTERM)


def web(nodes: Sequence[tuple[str, str]], options: str = "") -> str:
    """A frontend and a backend `web` over HTTP; nodes are names and addresses with ports."""
    servers = "\n".join(f"  server {name} {address} {options}" for name, address in nodes)
    return "frontend front\n  mode http\n  bind 127.0.0.1:{port}\n  default_backend web\n" + (
        f"backend web\n  mode http\n{servers}\n"
    )
