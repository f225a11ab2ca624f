"""Discovers this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from hitless.agent.polling.discovery import LOCAL, discovery

LOCAL_NODE = "local_node"


@discovery(group_id=LOCAL)
def local_node(_: str | None = None) -> Iterable[str]:
    """The machine's own name, as its one resource."""
    return (socket.gethostname(),)
