"""A private PostgreSQL server, on a Unix socket and a free port of 127.0.0.1, in a temporary folder."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.account import as_account, give, tool
from tests.servers.ports import free_port

ACCOUNT = "postgres"
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Postgres:
    port: int
    folder: Path
    bin: Path
    pid: int

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{ACCOUNT}@127.0.0.1:{self.port}/{database}"

    def sql(self, script: str, database: str = "postgres") -> str:
        command = [
            "psql",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            ACCOUNT,
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
        ]
        done = subprocess.run(
            [*command, "-d", database, "-c", script], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()


@contextmanager
def running_postgres(**settings: str) -> Iterator[Postgres]:
    """Started, answering, and stopped at the end."""
    bin_ = _bin()
    with tempfile.TemporaryDirectory(prefix="hitless-pg-", dir="/tmp") as path:
        folder = Path(path)
        folder.chmod(0o755)
        give(folder, ACCOUNT)
        data = folder / "data"
        run = as_account(ACCOUNT)
        options = ["-A", "trust", "-U", ACCOUNT, "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [*run, str(bin_ / "initdb"), "-D", str(data), *options],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        port = free_port()
        given = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": path,
            "fsync": "off",
        }
        given |= {"shared_buffers": "32MB", "max_connections": "40", **settings}
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    *run,
                    str(bin_ / "postgres"),
                    "-D",
                    str(data),
                    *(f"--{key}={value}" for key, value in given.items()),
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
            )
            try:
                _wait(bin_, port, server, folder / "log")
                yield Postgres(port, folder, bin_, server.pid)
            finally:
                server.terminate()  # smart shutdown would wait for forgotten sessions
                try:
                    server.wait(2)
                except subprocess.TimeoutExpired:
                    server.send_signal(2)
                    server.wait(30)


def _bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else Path(tool("initdb", "postgresql")).parent


def _wait(bin_: Path, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    command = [str(bin_ / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(command, check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"postgres did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)  # it has no event to wait for; pg_isready is how one asks
