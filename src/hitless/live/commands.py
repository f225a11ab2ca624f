"""What a live service answers on its control socket, in the shapes of `hitless serve`: the same commands work on both."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hitless import __version__
from hitless.change import JSON, ChangeInProgress, Event, JournalUnwritable, Outcome, Refused
from hitless.control import ControlError, ControlServer, Handler, Request, socket_path
from hitless.live.status import drains_of, generations_of

if TYPE_CHECKING:
    from hitless.live.service import Service

NOT_POSSIBLE: Final = {
    "stop": "stop it as it was started (kill -TERM {pid}, or systemctl stop)",
    "scale": "it is one process; start more of them, or let hitless serve run the application",
    "upgrade": "restart it to run it with another Hitless or Python",
    "metrics": "it counts no requests; hitless status --json shows what it does",
}
"""Commands, and what to do in their place."""

Make = Callable[[float | None], Awaitable[Outcome]]


class Commands:
    """The handlers of one service, by method name, and the socket that they answer on."""

    def __init__(self, service: Service[Any]) -> None:
        self._service: Final = service
        self._server: ControlServer | None = None

    async def open(self, name: str | None, control: bool | str | Path) -> None:
        """Listen. Raises ControlError: the socket cannot be had."""
        if control is False:
            return
        if control is True and name is None:
            raise ControlError("no_name", 'a control socket needs a name: Runtime(…, name="volumes")')
        path = socket_path(str(name)) if control is True else Path(control)
        self._server = ControlServer(path, self.handlers())
        await self._server.start()

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def handlers(self) -> dict[str, Handler]:
        return {
            "ping": self.ping,
            "reload": self.reload,
            "rollback": self.rollback,
            "status": self.status,
            "drains": self.drains,
            "diff": self.diff,
            "check": self.check,
            "history": self.history,
            **dict.fromkeys(NOT_POSSIBLE, self.not_possible),
        }

    async def not_possible(self, request: Request) -> JSON:
        """For the commands that mean something to services of `hitless serve` only."""
        name, what = self._service.runtime.name, NOT_POSSIBLE[request.method].format(pid=os.getpid())
        raise ControlError("not_possible", f"{name} is a program of its own, not under hitless run: {what}")

    async def ping(self, request: Request) -> JSON:
        return {"pid": os.getpid(), "version": __version__, "name": self._service.runtime.name}

    async def reload(self, request: Request) -> JSON:
        if request.params.get("restart") is True:
            raise ControlError(
                "wrong_params",
                "this process is its own master; restart it as it was started, or use hitless run",
            )
        who = str(request.peer)
        return await self._change(
            "reload", request, lambda timeout: self._service.reload(None, requested_by=who, timeout_s=timeout)
        )

    async def rollback(self, request: Request) -> JSON:
        who = str(request.peer)
        return await self._change(
            "rollback", request, lambda timeout: self._service.rollback(requested_by=who, timeout_s=timeout)
        )

    async def _change(self, kind: str, request: Request, make: Make) -> JSON:
        service, timeout = self._service, _number(request, "timeout")
        if request.params.get("wait") is False:
            if service.busy is not None:
                raise ControlError("busy", f"{service.busy} is in progress")
            service.stragglers.add(_made(make, timeout))
            return {
                "outcome": None,
                "message": f"the {kind} has begun; hitless status and history tell how it goes",
            }
        before = set(service.parts.drains.running)
        plans: list[dict[str, JSON]] = []

        def follow(event: Event) -> None:
            if event.name.startswith("change.") and event.name != "change.drained":
                service.stragglers.add(_told(request, event))
            if event.name == "change.started":
                plans.append(dict(event.fields))

        unsubscribe = service.events.subscribe(follow)
        try:
            outcome = await make(timeout)
        except ChangeInProgress as error:
            raise ControlError("busy", str(error)) from error
        finally:
            unsubscribe()
        new = [drain for drain in service.parts.drains.running if drain not in before]
        return {
            "outcome": outcome.to_json(),
            "plan": plans[0] if plans else None,
            "drains": [
                {
                    "generation": drain.snapshot.number,
                    "workers": 0,
                    "leases": len(drain.snapshot.held),
                    "deadline_s": drain.deadline.remaining(),
                }
                for drain in new
            ],
        }

    async def status(self, request: Request) -> JSON:
        service, last = self._service, self._service.last_outcome
        return {
            "kind": "live",
            "name": service.runtime.name,
            "pid": os.getpid(),
            "version": __version__,
            "uptime_s": round(time.time() - service.began, 3),
            "busy": service.busy,
            "applied_hash": None if service.applied is None else service.applied.hash,
            "attempted_hash": service.attempted_hash,
            "last_outcome": None if last is None else last.to_json(),
            "generation": service.transactions.generation,
            "on_probation": False,
            "watch": None
            if service.watching is None
            else {"failing": service.watching.failing, "sources": service.watching.standings},
            "notify": [{"sink": name, **asdict(counts)} for name, counts in service.notifier.counts],
            "addresses": [],
            "metrics_addresses": [],
            "recent_crashes": 0,
            "restart_delay_s": 0,
            "generations": generations_of(service.parts.leases),
            "drains": drains_of(service.parts.drains),
            "reports": {name: report() for name, report in service.runtime.reports.items()},
        }

    async def drains(self, request: Request) -> JSON:
        return drains_of(self._service.parts.drains)

    async def diff(self, request: Request) -> JSON:
        """What a reload would do now; nothing moves."""
        try:
            plan = await self._service.read_plan()
        except Refused as error:
            return {"refused": {"reason": error.reason, "message": error.message, "invalid": error.invalid}}
        return {"plan": plan.to_json(), "lines": list(plan.lines())}

    async def check(self, request: Request) -> JSON:
        """Whether the sources would be taken: the same code as reload, up to the plan."""
        answer = await self.diff(request)
        assert isinstance(answer, dict)
        plan = answer.get("plan")
        return answer if plan is None else {"hash": plan["attempted_hash"]}

    async def history(self, request: Request) -> JSON:
        limit = _number(request, "limit")
        try:
            entries = self._service.journal.entries(20 if limit is None else int(limit))
        except JournalUnwritable as error:
            raise ControlError("journal_unreadable", str(error)) from error
        return [entry.to_json() for entry in entries]


async def _made(make: Make, timeout: float | None) -> None:
    await make(timeout)


async def _told(request: Request, event: Event) -> None:
    await request.progress(event.name, dict(event.fields))


def _number(request: Request, name: str) -> float | None:
    value = request.params.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ControlError("wrong_params", f"{name} is a number of at least 0, not {value!r}")
    return value
