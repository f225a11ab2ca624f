"""What a service answers on its control socket: each handler checks its parameters, calls, and replies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from hitless import __version__
from hitless.change import JSON, ChangeInProgress, Event, JournalUnwritable, Outcome, Plan, Refused
from hitless.control import ControlError, Handler, Request
from hitless.serve.changes import AnyChange, Reload, Scale
from hitless.serve.status import status
from hitless.serve.supervisor import Stop, Supervisor


class Commands:
    """The handlers of one supervisor, by method name."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor: Final = supervisor

    def handlers(self) -> dict[str, Handler]:
        return {
            "ping": self.ping,
            "reload": self.reload,
            "rollback": self.rollback,
            "scale": self.scale,
            "upgrade": self.upgrade,
            "status": self.status,
            "drains": self.drains,
            "diff": self.diff,
            "check": self.check,
            "history": self.history,
            "metrics": self.metrics,
            "stop": self.stop,
        }

    async def ping(self, request: Request) -> JSON:
        return {"pid": os.getpid(), "version": __version__, "name": self._supervisor.name}

    async def reload(self, request: Request) -> JSON:
        supervisor = self._supervisor
        restart = request.params.get("restart") is True
        return await self._change(Reload(supervisor.fleet, supervisor.source, restart=restart), request)

    async def rollback(self, request: Request) -> JSON:
        return await self._change(self._supervisor.rollback(), request)

    async def scale(self, request: Request) -> JSON:
        workers = _number(request, "workers")
        if workers is None or workers != int(workers):
            raise ControlError("wrong_params", "scale needs workers, a whole number")
        return await self._change(Scale(self._supervisor.fleet, int(workers)), request)

    async def upgrade(self, request: Request) -> JSON:
        """Answered before the swap; whoever connects after the answer is answered by the new program."""
        python = request.params.get("python") or sys.executable
        if not isinstance(python, str):
            raise ControlError("wrong_params", "python is the path of an interpreter")
        try:
            outcome = await self._supervisor.upgrade(python, requested_by=str(request.peer))
        except ChangeInProgress as error:
            raise ControlError("busy", str(error)) from error
        return {"outcome": outcome.to_json(), "plan": None, "drains": []}

    async def _change(self, change: AnyChange, request: Request) -> JSON:
        supervisor = self._supervisor
        timeout = _number(request, "timeout")
        if request.params.get("wait") is False:
            if supervisor.busy is not None:
                raise ControlError("busy", str(ChangeInProgress(supervisor.busy)))
            supervisor.spawn(supervisor.change(change, requested_by=str(request.peer), timeout_s=timeout))
            return {
                "outcome": None,
                "message": f"the {change.kind} has begun; hitless status and history tell how it goes",
            }
        before = set(supervisor.fleet.drains)
        plans: list[dict[str, Any]] = []

        def follow(event: Event) -> None:
            if event.name.startswith("change.") and event.name != "change.drained":
                supervisor.spawn(request.progress(event.name, dict(event.fields)))
            if event.name == "change.started":
                plans.append(dict(event.fields))

        unsubscribe = supervisor.events.subscribe(follow)
        try:
            outcome = await supervisor.change(change, requested_by=str(request.peer), timeout_s=timeout)
        except ChangeInProgress as error:
            raise ControlError("busy", str(error)) from error
        finally:
            unsubscribe()
        drains = [drain for drain in supervisor.fleet.drains if drain not in before]
        return {
            "outcome": outcome.to_json(),
            "plan": plans[0] if plans else None,
            "drains": [
                {"generation": drain.generation, "workers": len(drain.left), "deadline_s": drain.remaining_s}
                for drain in drains
            ],
        }

    async def status(self, request: Request) -> JSON:
        supervisor = self._supervisor
        connections = _number(request, "connections")
        current = supervisor.fleet.current
        return {
            "name": supervisor.name,
            "pid": os.getpid(),
            "version": __version__,
            "uptime_s": round(time.time() - supervisor.tally.began, 3),
            "busy": supervisor.busy,
            "applied_hash": current.settings_hash if current else None,
            "attempted_hash": supervisor.tally.attempted_hash,
            "last_outcome": _shown(supervisor.last_outcome),
            "watch": supervisor.watch.status(),
            "notify": supervisor.notices.status(),
            **await status(supervisor.fleet, connections=20 if connections is None else int(connections)),
        }

    async def drains(self, request: Request) -> JSON:
        return [
            {
                "generation": drain.generation,
                "why": drain.why,
                "workers_left": len(drain.left),
                "deadline_s": round(drain.remaining_s, 3),
            }
            for drain in self._supervisor.fleet.drains
        ]

    async def diff(self, request: Request) -> JSON:
        """What a reload would do now; nothing moves."""
        _, plan = await self._looked()
        if isinstance(plan, Refused):
            return _refusal(plan)
        return {"plan": plan.to_json(), "lines": list(plan.lines())}

    async def check(self, request: Request) -> JSON:
        """Whether the configuration would be taken, as far as the plan can tell; nothing moves. Settings that the code that
        runs refuses are refused here, though there may be other code.
        """
        change, plan = await self._looked()
        if isinstance(plan, Refused):
            return _refusal(plan)
        return {"hash": plan.attempted_hash} if change.doubt is None else _refusal(change.doubt)

    async def _looked(self) -> tuple[Reload, Plan | Refused]:
        change = Reload(self._supervisor.fleet, self._supervisor.source)
        await change.look()
        try:
            return change, change.plan()
        except Refused as error:
            return change, error

    async def history(self, request: Request) -> JSON:
        limit = _number(request, "limit")
        try:
            entries = self._supervisor.journal.entries(20 if limit is None else int(limit))
        except JournalUnwritable as error:
            raise ControlError("journal_unreadable", str(error)) from error
        return [entry.to_json() for entry in entries]

    async def metrics(self, request: Request) -> JSON:
        return await self._supervisor.figures()

    async def stop(self, request: Request) -> JSON:
        """Drains and ends; answered when everything has drained, just before the process exits."""
        supervisor = self._supervisor
        timeout = _number(request, "timeout")
        if timeout is None:
            current = supervisor.fleet.current
            timeout = current.settings.drain.timeout if current else 0.0
        supervisor.request_stop(Stop(str(request.peer), timeout))
        await supervisor.stopped()
        return dict(supervisor.stop_report)


def _refusal(error: Refused) -> JSON:
    return {"refused": {"reason": error.reason, "message": error.message, "invalid": error.invalid}}


def _number(request: Request, name: str) -> float | None:
    value = request.params.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ControlError("wrong_params", f"{name} is a number of at least 0, not {value!r}")
    return value


def _shown(outcome: Outcome | None) -> Mapping[str, JSON] | None:
    return None if outcome is None else outcome.to_json()
