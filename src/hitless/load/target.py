"""Where the load goes: a URL, over TCP or a Unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from hitless.load.failure import LoadError


@dataclass(frozen=True, slots=True)
class Target:
    """One address to connect to and the path that requests without one of their own go to."""

    host: str
    port: int
    path: str = "/"
    tls: bool = False
    unix: str | None = None

    @classmethod
    def parse(cls, url: str) -> Target:
        """Of ``http://host:port/path``, ``https://…`` or ``unix:/run/x.sock``.

        Raises:
            LoadError: it is none of these.
        """
        if url.startswith("unix:"):
            return cls("localhost", 0, unix=url.removeprefix("unix:"))
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LoadError(
                f"cannot load {url!r}: expected http://host:port/path, https://host:port/path or unix:/path"
            )
        tls = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, parts.port or (443 if tls else 80), path, tls)

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    def __str__(self) -> str:
        if self.unix:
            return f"unix:{self.unix}"
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"
