"""What `hitless status` shows of a live service: generations, resources by phase, and what each drain waits for."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

from hitless.live.drains import Drain, Drains
from hitless.live.lease import Leases
from hitless.live.node import NodeId
from hitless.live.snapshot import Snapshot

SHOWN: Final = 20
"""Leases that are listed per drain."""


def generations_of(leases: Leases) -> list[dict[str, Any]]:
    """The newest first, as serve does."""
    with leases.lock:
        found = list(reversed(leases.generations))
    return [_generation(each, is_current=each is leases.current) for each in found]


def drains_of(drains: Drains) -> list[dict[str, Any]]:
    return [_drain(drain) for drain in drains.running]


def _generation(snapshot: Snapshot[Any], *, is_current: bool) -> dict[str, Any]:
    instances = list(snapshot.instances.values())
    return {
        "number": snapshot.number,
        "state": "serving" if is_current else "draining",
        "since_s": round(time.time() - snapshot.began, 3),
        "leases": len(snapshot.held),
        "actions": dict(Counter(lease.action for lease in snapshot.held.copy() if lease.action is not None)),
        "resources": len(snapshot.instances),
        "phases": dict(Counter(each.phase.value for each in instances)),
        "failed": sorted(str(each.id) for each in instances if each.made.failure is not None),
        "missing": sorted(str(NodeId(*each)) for each in snapshot.lost.copy()),
        "template_pid": None,
        "workers": [],
    }


def _drain(drain: Drain) -> dict[str, Any]:
    held = drain.waits_for()
    waits_for = [
        {
            "peer": lease.where,
            "state": lease.what,
            "method": None,
            "path": None,
            "in_flight_s": None,
            "age_s": round(time.monotonic() - lease.since, 3),
        }
        for lease in held[:SHOWN]
    ]
    return {
        "generation": drain.snapshot.number,
        "why": "replaced",
        "began_s": round(time.monotonic() - drain.began, 3),
        "deadline_s": round(drain.deadline.remaining(), 3),
        "workers_left": 0,
        "leases_left": len(held),
        "overdue": list(drain.overdue),
        "workers": [{"worker": 0, "pid": None, "connections": len(held), "waits_for": waits_for}]
        if held
        else [],
    }
