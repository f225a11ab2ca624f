"""Discovers this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable

LOCAL_NODE = "local_node"


def local_node(_: str | None = None) -> Iterable[str]:
    """The machine's own name, as its one resource."""
    return (socket.gethostname(),)
