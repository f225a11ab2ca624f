"""A private nginx as a reverse proxy on a free port of 127.0.0.1, in a temporary folder."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.account import tool
from tests.servers.ports import free_port

START_S = 60.0
STOP_S = 20.0


@dataclass(slots=True)
class NginxServer:
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def file(self) -> Path:
        """Its upstream `web`."""
        return self.folder / "upstreams" / "web.conf"

    @property
    def command(self) -> tuple[str, ...]:
        """How it is run, for `nginx -t` and `-s`."""
        return (tool("nginx", "nginx-light"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"))

    @property
    def pid(self) -> Path:
        return self.folder / "nginx.pid"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "-g", "daemon off;"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start: {(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.02)  # it has no event to wait for

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return self.pid.exists() and self.pid.read_text().strip().isdecimal()
        return False


@contextmanager
def running_nginx(servers: Sequence[str], options: str = "") -> Iterator[NginxServer]:
    """Started, and stopped at the end; `servers` are the lines of its upstream."""
    with tempfile.TemporaryDirectory(prefix="hitless-nginx-", dir="/tmp") as path:
        server = NginxServer(Path(path), free_port())
        server.folder.chmod(0o755)
        for name in ("upstreams", "logs", "temp"):
            (server.folder / name).mkdir()
        server.file.write_text("upstream web {\n" + "".join(f"    {line}\n" for line in servers) + "}\n")
        temp = "".join(
            f"  {each}_temp_path temp/{each};\n"
            for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (server.folder / "nginx.conf").write_text(
            f"pid {server.pid};\nerror_log {server.folder}/logs/error.log;\nworker_processes 2;\n"
            "events {}\n"
            f"http {{\n  access_log off;\n{temp}  include upstreams/*;\n  keepalive_timeout 600s;\n"
            f"  server {{\n    listen 127.0.0.1:{server.port};\n    location / {{\n      proxy_pass http://web;\n"
            f"      proxy_http_version 1.1;\n      proxy_set_header Connection '';\n{options}    }}\n  }}\n}}\n"
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
