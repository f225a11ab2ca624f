"""Which coordinator a URL stands for."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from hitless.agent.group.coordinator import Coordinator, NoPlace
from hitless.agent.group.directory import Directory
from hitless.agent.group.etcd import Etcd
from hitless.agent.group.options import GroupSettings

SCHEMES = "file:///DIRECTORY, etcd3+http://HOST:PORT, zookeeper://HOST:PORT or redis://HOST:PORT"


def coordinator(settings: GroupSettings) -> Coordinator:
    """The coordinator for `settings.url`; nothing is connected yet.

    Raises:
        NoPlace: there is none for such a URL, or what it needs is not installed.
    """
    parts = urlsplit(settings.url)
    scheme, _, protocol = parts.scheme.partition("+")
    if scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise NoPlace(f"expected file:///DIRECTORY with an absolute path, not {settings.url}")
        return Directory(Path(unquote(parts.path)) / settings.name, settings.lease)
    if scheme == "etcd3":
        if parts.query or parts.path.strip("/") or "@" in parts.netloc:
            raise NoPlace(
                f"expected etcd3+http://HOST:PORT without path, options or user, not {scheme}+{protocol}://…"
            )
        hosts = parts.netloc.split(",")
        endpoints = [f"{protocol or 'http'}://{host}" for host in hosts if host]
        try:
            return Etcd(endpoints, settings.name, lease_s=settings.lease, timeout_s=settings.timeout_s)
        except ValueError as error:
            raise NoPlace(f"{settings.url} is no etcd: {error}") from error
    try:
        return _through_tooz(scheme, settings)
    except ModuleNotFoundError as error:
        raise NoPlace(
            f"{scheme}:// needs {error.name}; install it with: pip install 'hitless[agent,group]'"
        ) from error


def _through_tooz(scheme: str, settings: GroupSettings) -> Coordinator:
    """Raises NoPlace, ModuleNotFoundError."""
    if scheme == "zookeeper":
        from hitless.agent.group.zookeeper import ZooKeeper

        return ZooKeeper(settings.url, settings.name, lease_s=settings.lease, timeout_s=settings.timeout_s)
    if scheme in ("redis", "rediss"):
        from hitless.agent.group.redis import Redis

        return Redis(settings.url, settings.name, lease_s=settings.lease, timeout_s=settings.timeout_s)
    raise NoPlace(f"a group cannot meet at {scheme}://…; expected {SCHEMES}")
