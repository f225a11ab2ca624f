"""The figures of a service.

The supervisor gathers plain figures; turning them into Prometheus text (`hitless.serve.exposition`) is the business of whoever
asked, so that the library for it is not loaded where nobody scrapes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hitless.change import Event
from hitless.serve.fleet import Fleet
from hitless.serve.status import REPORT_S


@dataclass(slots=True)
class Tally:
    """What has happened since the start, counted from events."""

    began: float = field(default_factory=time.time)
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Changes by kind, status and reason label."""
    deaths: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds of each phase of the last change."""
    last_success: float = 0.0
    last_was_good: bool = True
    attempted_hash: str | None = None
    """Hash of the settings that were last attempted."""
    _kind: str = ""

    def note(self, event: Event) -> None:
        match event.name:
            case "change.started":
                self._kind = str(event.fields.get("kind"))
                self.attempted_hash = str(event.fields.get("attempted_hash") or "") or None
            case "change.committed" | "change.unchanged":
                self._count("applied" if event.name.endswith("committed") else "unchanged", event)
                self.last_success, self.last_was_good = event.at, True
            case "change.rejected" | "change.rolled_back":
                self._count(event.name.removeprefix("change."), event)
                self.last_was_good = False
            case "worker.died":
                self.deaths += 1

    def freeze(self) -> dict[str, Any]:
        """For the supervisor that replaces this one: counters do not start again."""
        return {
            "began": self.began,
            "deaths": self.deaths,
            "last_success": self.last_success,
            "last_was_good": self.last_was_good,
            "attempted_hash": self.attempted_hash,
            "outcomes": [[*labels, count] for labels, count in self.outcomes.items()],
        }

    def thaw(self, frozen: Mapping[str, Any]) -> None:
        self.began, self.deaths = frozen["began"], frozen["deaths"]
        self.last_success, self.last_was_good = frozen["last_success"], frozen["last_was_good"]
        self.attempted_hash = frozen["attempted_hash"]
        for kind, status, reason, count in frozen["outcomes"]:
            self.outcomes[kind, status, reason] = count

    def _count(self, status: str, event: Event) -> None:
        self.outcomes[self._kind, status, str(event.fields.get("reason") or "")] += 1
        timings = event.fields.get("timings")
        if isinstance(timings, dict):
            self.timings = {name: float(str(seconds)) for name, seconds in timings.items()}


async def figures(name: str, fleet: Fleet, tally: Tally) -> dict[str, Any]:
    """All figures, JSON-able. Counters include those of workers that are gone."""
    workers = fleet.workers()
    reports = await asyncio.gather(*(worker.report(limit=0, timeout_s=REPORT_S) for worker in workers))
    totals = Counter(fleet.totals)
    for worker in workers:
        totals.update(worker.counters)
    current = fleet.current
    return {
        "name": name,
        "generation": current.number if current else 0,
        "workers": dict(Counter(worker.state.value for worker in workers)),
        "connections": sum(report["open"] for report in reports if report),
        "in_flight": sum(report["in_flight"] for report in reports if report),
        "counters": dict(totals),
        "worker_deaths": tally.deaths,
        "drains": len(fleet.drains),
        "changes": [
            {"kind": kind, "status": status, "reason": reason, "count": count}
            for (kind, status, reason), count in sorted(tally.outcomes.items())
        ],
        "last_change_good": tally.last_was_good,
        "last_success": tally.last_success,
        "phase_seconds": tally.timings,
        "import_seconds": current.import_s if current else 0.0,
        "applied_hash": current.settings_hash if current else "",
        "attempted_hash": tally.attempted_hash or "",
        "started": tally.began,
    }
