"""A private HAProxy in front of a fleet."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.demo.service import ServiceFailed

START_S: Final = 20.0
SBIN: Final = "/usr/sbin:/usr/local/sbin:/usr/bin"
# No retries: what a client of a node that is gone would see must not be hidden.
CONFIG: Final = """\
global
    stats socket {socket} mode 600 level admin
    stats timeout 1h
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    timeout http-keep-alive 120s
frontend front
    bind 127.0.0.1:{port}
    default_backend {backend}
backend {backend}
    balance {balance}
    option httpchk GET {health}
    default-server check inter 300ms fastinter 100ms fall 2 rise 2
{servers}
"""


@dataclass(frozen=True, slots=True)
class HAProxy:
    port: int
    socket: Path
    """Of its runtime API."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def installed() -> str | None:
    """Where it is, if it is."""
    return shutil.which("haproxy") or shutil.which("haproxy", path=SBIN)


@contextmanager
def running_haproxy(
    folder: Path, servers: Mapping[str, str], *, port: int, backend: str, health: str = "/healthz", balance: str = "roundrobin"
) -> Iterator[HAProxy]:  # fmt: skip
    """Started and answering; `servers` are addresses by name.

    Raises:
        ServiceFailed: it is not installed, or does not start.
    """
    program = installed()
    if program is None:
        raise ServiceFailed("haproxy is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    socket, config, log = folder / "haproxy.sock", folder / "haproxy.cfg", folder / "haproxy.log"
    lines = "\n".join(f"    server {name} {address}" for name, address in servers.items())
    config.write_text(
        CONFIG.format(
            socket=socket, port=port, backend=backend, health=health, balance=balance, servers=lines
        )
    )
    with log.open("wb") as sink:
        process = subprocess.Popen([program, "-f", str(config), "-db"], stdout=sink, stderr=sink)
    try:
        _wait(process, socket, log)
        yield HAProxy(port, socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServiceFailed(f"haproxy did not start: {log.read_text(errors='replace')[-1000:]}")
        time.sleep(0.02)
