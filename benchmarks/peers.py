"""The servers that are compared, as data: how each is started, what it needs, how it is told to reload.

Fairness: every server runs the same application file, without an access log, and keeps idle connections for
75 s (their own defaults of 2 to 5 s would close connections without any reload). Everything else is its
default.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

APPS: Final = {"asgi": "bench_asgi:app", "wsgi": "bench_wsgi:app"}


@dataclass(frozen=True, slots=True)
class Peer:
    """One server in one way of running it.

    In `command` and `files` these are filled in: {python}, {hitless_python}, {port}, {workers}, {app},
    {folder}, {release}, {apps}.
    """

    name: str
    interface: str
    """``asgi``, ``wsgi``, or ``static`` for nginx."""
    command: tuple[str, ...]
    module: str | None = None
    """What must be importable by the peers' interpreter."""
    executable: str | None = None
    """What must be on PATH."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Written into the folder before the start and before each reload."""
    suites: frozenset[str] = frozenset({"throughput", "reload", "broken", "memory", "long"})
    note: str = ""

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("hitless")

    @property
    def takes_posts(self) -> bool:
        return self.interface != "static"

    def lacks(self, python: str) -> str | None:
        """What this machine lacks for it, if anything."""
        if self.executable is not None and shutil.which(self.executable) is None:
            return f"{self.executable} is not installed"
        if self.module is not None and not _importable(python, self.module):
            return f"{python} has no {self.module}"
        return None


@cache
def _importable(python: str, module: str) -> bool:
    return (
        subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    )


HITLESS_TOML = """
name = "bench"
app = "{app}"
bind = ["127.0.0.1:{port}"]
workers = {workers}
directory = "{apps}"
state_dir = "{folder}/state"
server_name = ""

[log]
level = "warning"
"""

NGINX_CONF = """
user {user};
daemon off;
{broken}
worker_processes {workers};
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  keepalive_timeout 75;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location = /version {{ return 200 "{release} 0"; }}
    location = / {{ root {folder}; try_files /hello.txt =404; }}
    location = /json {{ root {folder}; try_files /10k.json =404; }}
  }}
}}
"""

UVICORN = (
    *(
        "{python}",
        "-m",
        "uvicorn",
        "{app}",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "--workers",
        "{workers}",
    ),
    *("--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "75"),
)
GRANIAN = (
    *("{python}", "-m", "granian", "--host", "127.0.0.1", "--port", "{port}", "--workers", "{workers}"),
    *("--no-access-log", "--log-level", "warning"),
)
GUNICORN = (
    *("{python}", "-m", "gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "--workers", "{workers}"),
    *("--keep-alive", "75", "--log-level", "warning", "--no-control-socket"),
)
HYPERCORN = (
    *("{python}", "-m", "hypercorn", "{app}", "--bind", "127.0.0.1:{port}", "--workers", "{workers}"),
    *("--keep-alive", "75", "--log-level", "warning", "--worker-class", "uvloop"),
)
UWSGI = (
    *(
        "uwsgi",
        "--plugin",
        "http",
        "--plugin",
        "python3",
        "--master",
        "--die-on-term",
        "--socket",
        "{folder}/uwsgi.sock",
    ),
    *(
        "--http",
        "127.0.0.1:{port}",
        "--http-keepalive=75",
        "--http-timeout",
        "75",
        "--processes",
        "{workers}",
    ),
    *("--enable-threads", "--threads", "8", "--pythonpath", "{apps}", "--wsgi", "{app}", "--disable-logging"),
)
HITLESS = ("{hitless_python}", "-m", "hitless", "serve", "-c", "{folder}/hitless.toml")
OURS = {"hitless.toml": HITLESS_TOML}

PEERS: Final = (
    Peer("hitless asgi", "asgi", HITLESS, files=OURS),
    Peer("uvicorn", "asgi", UVICORN, "uvicorn"),
    Peer("granian asgi", "asgi", (*GRANIAN, "--interface", "asgi", "{app}"), "granian"),
    Peer("gunicorn asgi", "asgi", (*GUNICORN, "--worker-class", "asgi"), "gunicorn"),
    Peer("hypercorn", "asgi", HYPERCORN, "hypercorn"),
    Peer("hitless wsgi", "wsgi", HITLESS, files=OURS),
    Peer("gunicorn gthread", "wsgi", (*GUNICORN, "--worker-class", "gthread", "--threads", "8"), "gunicorn"),
    Peer(
        "gunicorn gthread --preload",
        "wsgi",
        (*GUNICORN, "--worker-class", "gthread", "--threads", "8", "--preload"),
        "gunicorn",
        suites=frozenset({"memory"}),
        note="shares memory; a HUP does not load new code",
    ),
    Peer("granian wsgi", "wsgi", (*GRANIAN, "--interface", "wsgi", "{app}"), "granian"),
    Peer(
        "uwsgi",
        "wsgi",
        UWSGI,
        executable="uwsgi",
        note="Debian's, on the system's Python; keep-alive through its http router, a process of its own",
    ),
    Peer(
        "nginx",
        "static",
        ("nginx", "-c", "{folder}/nginx.conf", "-p", "{folder}"),
        executable="nginx",
        files={"nginx.conf": NGINX_CONF, "hello.txt": "Hello, world!"},
        suites=frozenset({"reload", "broken"}),
        note="the ceiling: static files, nothing to import",
    ),
)
