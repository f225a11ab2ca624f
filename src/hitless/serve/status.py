"""What `hitless status` shows: what serves, what drains, and what each drain waits for."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from hitless.serve.fleet import Fleet
from hitless.serve.generations import ServeGeneration
from hitless.serve.workers import WorkerProcess

REPORT_S: Final = 1.0
"""How long a worker may take to say what it is doing; a busier one is shown by its scoreboard figures."""


async def status(fleet: Fleet, *, connections: int = 20) -> dict[str, Any]:
    """`connections`: how many connections of each worker are listed."""
    generations = [one for one in (fleet.current, fleet.preparing, fleet.kept) if one is not None]
    rows = await asyncio.gather(*(_generation(fleet, one, connections) for one in generations))
    drains = await asyncio.gather(*(_drain(drain, connections) for drain in fleet.drains))
    return {
        "generation": fleet.current.number if fleet.current else 0,
        "on_probation": fleet.on_probation,
        "addresses": [listener.describe() for listener in fleet.listeners],
        "metrics_addresses": [listener.describe() for listener in fleet.metrics_listeners],
        "recent_crashes": fleet.mender.crashes.recent,
        "restart_delay_s": fleet.mender.crashes.delay_s,
        "generations": rows,
        "drains": drains,
    }


async def _generation(fleet: Fleet, generation: ServeGeneration, limit: int) -> dict[str, Any]:
    draining = {worker.number for drain in fleet.drains for worker in drain.workers}
    workers = [worker for number, worker in sorted(generation.workers.items()) if number not in draining]
    template = generation.template
    return {
        "number": generation.number,
        "state": generation.life.state.value,
        "since_s": round(time.time() - generation.life.since, 3),
        "settings_hash": generation.settings_hash,
        "live": None
        if generation.live is None
        else {"name": generation.live.name, "hash": generation.live.hash},
        "app": generation.settings.app,
        "interface": generation.interface,
        "import_s": generation.import_s,
        "forks": generation.forks,
        "template_pid": template.pid if template is not None and template.is_alive else None,
        "wanted_workers": generation.settings.workers,
        "workers": await asyncio.gather(*(_worker(fleet, worker, limit) for worker in workers)),
    }


async def _worker(fleet: Fleet, worker: WorkerProcess, limit: int) -> dict[str, Any]:
    report = await worker.report(limit=limit, timeout_s=REPORT_S)
    seen = fleet.host.board.read(worker.row)
    return {
        "worker": worker.number,
        "pid": worker.pid,
        "state": worker.state.value,
        "answers": report is not None,
        "age_s": round(time.monotonic() - worker.began, 3),
        "connections": report["open"] if report else seen["connections"],
        "in_flight": report["in_flight"] if report else seen["in_flight"],
        "requests": report["counters"]["requests"] if report else seen["requests"],
        "open": report["connections"] if report else [],
        "live_drains": report.get("live_drains", []) if report else [],
        "live_reports": report.get("live_reports", {}) if report else {},
    }


async def _drain(drain: Any, limit: int) -> dict[str, Any]:
    left = drain.left
    reports = await asyncio.gather(*(worker.report(limit=limit, timeout_s=REPORT_S) for worker in left))
    return {
        "generation": drain.generation,
        "why": drain.why,
        "began_s": round(time.monotonic() - drain.began, 3),
        "deadline_s": round(drain.remaining_s, 3),
        "workers_left": len(left),
        "workers": [
            {
                "worker": worker.number,
                "pid": worker.pid,
                "connections": report["open"] if report else None,
                "waits_for": report["connections"] if report else [],
            }
            for worker, report in zip(left, reports, strict=True)
        ],
    }
