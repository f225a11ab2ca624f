"""Change the settings, drivers, pools and caches of a running process in place: what changed is built beside what is used,
swapped in one step, and the old is closed when its last user has left.
"""

from __future__ import annotations

from hitless.live.background import Background
from hitless.live.blueprint import Move, Row
from hitless.live.errors import (
    DeclarationError,
    HostDecides,
    LiveError,
    NotRunning,
    QueueFull,
    Replaced,
    StartFailed,
    UnknownResource,
    WouldBlock,
)
from hitless.live.host import lifetime, ready
from hitless.live.inputs import Each, EachKey, Needs, Setting
from hitless.live.instance import MOVES, Phase
from hitless.live.lease import Lease
from hitless.live.lifetime import Lifetime
from hitless.live.reloading import Reload
from hitless.live.runtime import Runtime
from hitless.live.snapshot import Snapshot
from hitless.live.timeouts import Limits, Quiesce, Timeouts
from hitless.live.triggers import Triggers

__all__ = [
    "MOVES",
    "Background",
    "DeclarationError",
    "Each",
    "EachKey",
    "HostDecides",
    "Lease",
    "Lifetime",
    "Limits",
    "LiveError",
    "Move",
    "Needs",
    "NotRunning",
    "Phase",
    "QueueFull",
    "Quiesce",
    "Reload",
    "Replaced",
    "Row",
    "Runtime",
    "Setting",
    "Snapshot",
    "StartFailed",
    "Timeouts",
    "Triggers",
    "UnknownResource",
    "WouldBlock",
    "lifetime",
    "ready",
]
