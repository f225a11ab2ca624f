"""kill -9 of anything at any moment: only the requests in the killed process are lost, and nothing is left behind.

Moments are exact: the application waits at a gate, or the supervisor stops itself at a named point (`hitless.serve.faults`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitless.load import Failure, Load
from serve.harm import (
    InFlight,
    Mortal,
    connections_of,
    free_port,
    freeze,
    is_alive,
    state_of,
    stopped,
    thaw,
    until,
)
from serve.harm import write_gated_app as write_app

REPLACED_S = 1.0
"""Within which a dead worker has a successor that accepts."""


def mortal(folder: Path, port: int, *, mark: str = "first", **settings: Any) -> Mortal:
    service = Mortal(folder, mark=mark)
    service.configure(
        app="app:app",
        name="chaos",
        bind=[f"127.0.0.1:{port}"],
        workers=2,
        state_dir=str(folder / "state"),
        health__path="/health",
        drain__timeout=30.0,  # longer than a successor takes to start on a busy machine
        drain__linger=2.0,  # ten times the longest think time: no client is just about to ask when it ends
        **settings,
    )
    return service


# The supervisor


@dataclass(frozen=True)
class Moment:
    """When the supervisor is killed, and what the journal then says of the change that was being made."""

    name: str
    status: str = "interrupted"
    fault: str | None = None
    count: int = 1
    gate: str | None = None
    has_request: bool = True
    """Whether a request is in flight then: it keeps the drain open."""
    how: Callable[[Mortal], Awaitable[None]] | None = None


async def reloading(service: Mortal, moment: Moment) -> None:
    """A reload in the middle of which the supervisor dies."""
    if moment.fault is not None:
        service.arm("kill", moment.fault, moment.count)
    if moment.gate is not None:
        service.close_gate(moment.gate)
    reload = asyncio.create_task(service.ask_in_vain("reload"))
    if moment.gate is not None:
        await service.somebody_at(moment.gate)
        os.kill(service.pid, signal.SIGKILL)
    await reload


async def idle(service: Mortal) -> None:
    os.kill(service.pid, signal.SIGKILL)


async def stopping(service: Mortal) -> None:
    os.kill(service.pid, signal.SIGTERM)
    await until(lambda: "service stopping" in service.log, "it stops")
    os.kill(service.pid, signal.SIGKILL)


async def mending(service: Mortal) -> None:
    """A worker has died, and its successor hangs in its startup."""
    service.close_gate("lifespan")
    os.kill(max(service.workers()), signal.SIGKILL)
    await service.somebody_at("lifespan")
    os.kill(service.pid, signal.SIGKILL)


async def blocked(service: Mortal) -> None:
    """A worker's event loop is blocked by the application for good."""
    service.close_gate("block")
    _reader, writer = await asyncio.open_connection("127.0.0.1", port_of(service))
    writer.write(b"GET /block HTTP/1.1\r\nHost: test\r\n\r\n")
    await service.somebody_at("block")
    os.kill(service.pid, signal.SIGKILL)
    writer.close()


def port_of(service: Mortal) -> int:
    return int(service.settings["bind"][0].rpartition(":")[2])


MOMENTS = (
    Moment("idle", "applied", how=idle),
    Moment("before the change is written", "applied", fault="change.requested"),
    Moment("the change is written, nothing is built", fault="change.started"),
    Moment("the listening sockets are open", fault="listeners.opened"),
    Moment("the template is spawned", fault="template.spawned"),
    Moment("the template hangs in the import", gate="import"),
    Moment("the template has imported", fault="template.loaded"),
    Moment("the first worker is forked", fault="worker.forked"),
    Moment("the last worker is forked", fault="worker.forked", count=2),
    Moment("a worker hangs in its startup", gate="lifespan"),
    Moment("a worker hangs in its health request", gate="health"),
    Moment("all workers are ready", fault="workers.ready"),
    Moment("all workers are probed", fault="workers.probed"),
    Moment("old and new workers accept", fault="generation.serves"),
    Moment("the old workers are told to drain", fault="generation.drains"),
    Moment("the change is made and not recorded", fault="change.committed"),
    Moment("the change is recorded", "applied", fault="change.recorded"),
    Moment("the old workers have drained", "interrupted applied", fault="drain.ended", has_request=False),
    Moment("it stops and drains", "applied", how=stopping),
    Moment("a dead worker is being replaced", "applied", how=mending, has_request=False),
)


async def dies(folder: Path, moment: Moment) -> None:
    folder.mkdir()
    write_app(folder)
    port = free_port()
    first, second = mortal(folder, port), mortal(folder, port, mark="second")
    try:
        await asyncio.to_thread(first.start)
        async with Load(f"http://127.0.0.1:{port}/", clients=6, think=(0.05, 0.2)) as load:
            await load.warm(10)
            answer = await InFlight.begin(folder, port) if moment.has_request else None
            write_app(folder, "v2")
            await (moment.how(first) if moment.how else reloading(first, moment))
            await asyncio.to_thread(first.wait, 20)
            assert first.process is not None
            assert first.process.returncode == -signal.SIGKILL
            for gate in ("import", "lifespan", "health"):
                if (folder / gate).exists():
                    (folder / gate).unlink()  # the successor does not hang; who hangs already goes on hanging
            await asyncio.to_thread(second.start)
            if answer is not None:
                assert answer.pid in first.processes(), "the old worker finishes beside the new service"
                assert await answer.finish() == b"v1 done"
            await until(lambda: not first.processes(), f"no orphan is left of {moment.name}")
            await load.more(30)
        report = await load.stop()
        assert set(report.failures) <= {Failure.REFUSED}, (moment.name, report.as_json())
        history = await second.ask("history")
        assert history[0]["plan"]["kind"] == "start"
        assert history[1]["status"] in moment.status, (moment.name, history[1])
        if moment.status == "interrupted":
            assert history[1]["plan"]["kind"] == "reload"
    finally:
        second.end()
        first.kill_all()
        second.kill_all()


async def test_a_killed_supervisor_leaves_no_orphan_a_free_port_an_intact_journal_and_loses_no_request(
    tmp_path: Path,
) -> None:
    at_once = asyncio.Semaphore(4)

    async def one(number: int, moment: Moment) -> None:
        async with at_once:
            await dies(tmp_path / str(number), moment)

    ended = await asyncio.gather(*map(one, range(len(MOMENTS)), MOMENTS), return_exceptions=True)
    failed = {moment.name: error for moment, error in zip(MOMENTS, ended, strict=True) if error is not None}
    assert not failed, failed


# Workers and templates


@dataclass
class Arena:
    """A service under load, and how many requests each step may have cost."""

    service: Mortal
    load: Load
    port: int
    may_lose: dict[str, int] = field(default_factory=dict)
    _step: str = ""
    _version: int = 1

    def begin(self, step: str) -> None:
        self._step = step
        self.may_lose[step] = 0
        self.load.step(step)

    async def kill(self, pid: int) -> None:
        """A process that is stopped first, so that what it holds can be counted."""
        await freeze(pid)
        self.may_lose[self._step] += connections_of(pid, self.port)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: state_of(pid) in ("", "Z"), f"{pid} dies")

    async def whole(self) -> dict[str, Any]:
        """Both workers serve, the template is there, nothing else is left; and all clients get answers."""
        status: dict[str, Any] = {}

        async def is_whole() -> bool:
            status.update(await self.service.ask("status"))
            current = status["generations"][0]
            serving = [worker for worker in current["workers"] if worker["state"] == "serving"]
            is_kept = len(status["generations"]) > 1
            return (
                len(serving) == 2
                and len(current["workers"]) == 2
                and current["template_pid"] is not None
                and not status["drains"]
                and len(self.service.templates()) == 1 + is_kept
                and len(self.service.workers()) == 2
            )

        try:
            await until(is_whole, f"the service is whole after {self._step}")
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{status}\n{self.service.processes()}\n{self.service.log}"
            ) from None
        await self.load.more(30)
        return status

    def reload(self) -> asyncio.Task[Any]:
        self._version += 1
        write_app(self.service.folder, f"v{self._version}")
        return asyncio.create_task(self.service.ask("reload"))

    async def reload_up_to(self, point: str, count: int = 1) -> asyncio.Task[Any]:
        """A reload whose supervisor is stopped at `point`; `thaw` lets it go on."""
        self.service.arm("stop", point, count)
        reload = self.reload()
        await stopped(self.service.pid)
        return reload

    async def go_on(self, reload: asyncio.Task[Any]) -> str:
        """How the reload ended: its status, with the reason if there is one."""
        thaw(self.service.pid)
        return await self.ended(reload)

    async def ended(self, reload: asyncio.Task[Any]) -> str:
        outcome = (await reload)["outcome"]
        return " ".join(filter(None, (outcome["status"], outcome["reason"])))


@asynccontextmanager
async def arena(folder: Path) -> AsyncIterator[Arena]:
    folder.mkdir()
    write_app(folder)
    port = free_port()
    service = mortal(folder, port, start__crashes=100)
    try:
        await asyncio.to_thread(service.start)
        async with Load(f"http://127.0.0.1:{port}/", clients=12, think=(0.02, 0.1)) as load:
            await load.warm(10)
            ground = Arena(service, load, port)
            yield ground
            await ground.whole()
        report = await load.stop()
        lost = {step: report.step(step).failed for step in ground.may_lose}
        costly = {step: count for step, count in lost.items() if count > ground.may_lose[step]}
        assert not costly, (costly, ground.may_lose, report.as_json())
        assert sum(lost.values()) == report.failed
    finally:
        service.end()
        service.kill_all()


async def test_only_the_requests_in_a_killed_worker_are_lost_and_it_is_replaced_at_once(
    tmp_path: Path,
) -> None:
    async with arena(tmp_path / "workers") as ground:
        service = ground.service

        ground.begin("a serving worker")
        victim = min(service.workers())
        await ground.kill(victim)
        died = time.monotonic()
        await until(lambda: len(service.workers() - {victim}) == 2, "it is forked again")
        assert time.monotonic() - died < REPLACED_S
        await ground.whole()

        ground.begin("all serving workers")
        for pid in service.workers():
            await ground.kill(pid)
        await ground.whole()

        ground.begin("a worker that is just being replaced")
        before = service.workers()
        service.close_gate("lifespan")
        leaving = min(before)
        os.kill(leaving, signal.SIGTERM)
        await service.somebody_at("lifespan")
        await ground.kill(*(service.workers() - before))
        service.open_gate("lifespan")
        await until(lambda: not is_alive(leaving), "the one that was to be replaced is")
        await ground.whole()

        ground.begin("a new worker in its startup")
        before = service.workers()
        service.close_gate("lifespan")
        reload = ground.reload()
        await service.somebody_at("lifespan")
        await ground.kill(min(service.workers() - before))
        assert await ground.ended(reload) == "rejected worker_died"
        service.open_gate("lifespan")
        await ground.whole()

        ground.begin("a new worker in its health request")
        before = service.workers()
        service.close_gate("health")
        reload = ground.reload()
        await service.somebody_at("health")
        await ground.kill(min(service.workers() - before))
        service.open_gate("health")
        assert await ground.ended(reload) in ("rejected worker_died", "rejected health_failed")
        await ground.whole()

        ground.begin("a new worker that is ready")
        before = service.workers()
        reload = await ground.reload_up_to("workers.probed")
        await ground.kill(min(service.workers() - before))
        assert await ground.go_on(reload) == "rolled_back worker_died"
        await ground.whole()

        ground.begin("a new worker that accepts, beside the old ones")
        before = service.workers()
        reload = await ground.reload_up_to("generation.serves")
        await ground.kill(min(service.workers() - before))
        assert await ground.go_on(reload) == "applied"
        await ground.whole()

        ground.begin("an old worker, when the new ones accept")
        before = service.workers()
        reload = await ground.reload_up_to("generation.serves")
        await ground.kill(min(before))
        assert await ground.go_on(reload) == "applied"
        await ground.whole()

        ground.begin("a draining worker")
        answer = await InFlight.begin(service.folder, ground.port)
        assert await ground.ended(ground.reload()) == "applied"
        await until(lambda: connections_of(answer.pid, ground.port) == 1, "only what is in flight stays")
        await ground.kill(answer.pid)
        assert b"done" not in await answer.reader.read(), "the one request that was in it is cut"
        await ground.whole()
        ground.may_lose[ground._step] = 0  # that request was none of the load's

        ground.begin("a new worker to which connections are being handed over")
        before = service.workers()
        reload = await ground.reload_up_to("generation.serves")
        victim = min(service.workers() - before)
        await freeze(victim)
        thaw(service.pid)
        assert await ground.ended(reload) == "applied"
        await until(
            lambda: sum(connections_of(pid, ground.port) for pid in before if state_of(pid)) <= 8,
            "the old workers offer what is idle",
        )
        await ground.kill(victim)
        await ground.whole()

        ground.begin("a reload while a worker is being replaced, whose successor hangs")
        service.close_gate("lifespan")
        await ground.kill(min(service.workers()))
        await service.somebody_at("lifespan")
        write_app(service.folder, "v99", more="def gate(name): pass")
        assert (await service.ask("reload"))["outcome"]["status"] == "applied"
        await ground.whole()  # so that successor is gone, too
        service.open_gate("lifespan")


async def test_a_killed_template_costs_nothing_and_is_rebuilt(tmp_path: Path) -> None:
    async with arena(tmp_path / "templates") as ground:
        service = ground.service

        ground.begin("an idle template")
        (old,) = service.templates()
        await ground.kill(old)
        status = await ground.whole()
        assert status["generations"][0]["template_pid"] != old

        ground.begin("a template in its import")
        before = service.templates()
        service.close_gate("import")
        reload = ground.reload()
        await service.somebody_at("import")
        await ground.kill(*(service.templates() - before))
        assert await ground.ended(reload) == "rejected template_died"
        service.open_gate("import")
        await ground.whole()

        for point, count in (("template.spawned", 1), ("template.loaded", 1), ("worker.forked", 1)):
            ground.begin(f"a template at {point}")
            before = service.templates()
            reload = await ground.reload_up_to(point, count)
            await ground.kill(*(service.templates() - before))
            assert (await ground.go_on(reload)).partition(" ")[0] in ("rejected", "applied")
            await ground.whole()

        ground.begin("a template that hangs when it is asked for a worker")
        service.configure(start__timeout=3.0)
        assert await ground.ended(ground.reload()) == "applied"
        status = await ground.whole()
        await freeze(status["generations"][0]["template_pid"])
        await ground.kill(min(service.workers()))
        await ground.whole()

        ground.begin("the template that is kept for a rollback")
        assert await ground.ended(ground.reload()) == "applied"
        status = await ground.whole()
        await ground.kill(status["generations"][1]["template_pid"])
        await until(lambda: len(service.templates()) == 1, "only the current one is left")
        rollback = asyncio.create_task(service.ask("rollback"))
        assert await ground.ended(rollback) == "applied", "from its settings, then"
        await ground.whole()


# Hanging


async def hangs_as_an_orphan(folder: Path) -> None:
    folder.mkdir()
    write_app(folder)
    service = mortal(folder, free_port())
    service.configure(drain__timeout=0.1)
    try:
        await asyncio.to_thread(service.start)
        await blocked(service)
        await asyncio.to_thread(service.wait, 5)
        await until(lambda: not service.processes(), "the kernel ends it", timeout_s=25)
    finally:
        service.kill_all()


async def hangs_while_it_drains(folder: Path) -> None:
    async with arena(folder) as ground:
        ground.begin("a worker that hangs while it drains")
        ground.service.configure(drain__timeout=0.5)
        before = ground.service.workers()
        reload = await ground.reload_up_to("generation.serves")
        hung = min(before)
        await freeze(hung)
        ground.may_lose[ground._step] += connections_of(hung, ground.port)
        assert await ground.go_on(reload) == "applied"
        await until(lambda: not is_alive(hung), "it is killed after the drain's deadline", timeout_s=25)
        await ground.whole()


async def test_a_worker_that_hangs_is_ended_some_time_after_its_drain_with_or_without_a_supervisor(
    tmp_path: Path,
) -> None:
    await asyncio.gather(hangs_as_an_orphan(tmp_path / "orphan"), hangs_while_it_drains(tmp_path / "drain"))
