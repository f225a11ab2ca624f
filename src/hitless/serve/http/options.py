"""What the HTTP engine needs of the settings, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Options of one engine; times are seconds, sizes bytes. `HttpOptions(**mapping_from_json)` works."""

    interface: Literal["asgi", "wsgi"]
    threads: int = 8
    """Threads that run a WSGI application."""
    root_path: str = ""
    """Path prefix that a proxy in front has stripped; ASGI `root_path`, WSGI `SCRIPT_NAME`."""
    server_name: str = "hitless"
    """Value of the `server` response header; empty for none."""
    forwarded_allow_ips: tuple[str, ...] = ("127.0.0.1", "::1")
    """Peers (addresses, networks, `*`) whose X-Forwarded-For and -Proto are believed."""
    access: Literal["off", "common", "json"] = "off"
    header_bytes: int = 65536
    """Request line and headers together; over it: 431."""
    headers: int = 256
    """Number of header fields; over it: 431."""
    body_bytes: int | None = None
    """Request body; over it: 413."""
    concurrency: int | None = None
    """Requests in flight; over it: 503."""
    keep_alive: float = 75.0
    header_timeout: float = 15.0
    body_timeout: float = 60.0
    write_timeout: float = 60.0
    linger: float = 5.0
    """How long a draining connection that stays waits for one more request."""
    stream: float = 15.0
    """How long WebSockets and event streams go on undisturbed when a drain has begun."""
    spread: float = 5.0
    """Time after that over which their ends are spread."""
    multiprocess: bool = False
    """`wsgi.multiprocess`: whether other workers serve the same application."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "forwarded_allow_ips", tuple(self.forwarded_allow_ips))
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
