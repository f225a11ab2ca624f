"""Signals, as users of nginx and gunicorn expect them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hitless.load import Load, Report
from serve.harm import InFlight, Mortal, free_port, freeze, is_alive, state_of, stopped, thaw, until
from serve.harm import write_gated_app as write_app


def port_of(service: Mortal) -> int:
    return int(service.settings["bind"][0].rpartition(":")[2])


def prepared(folder: Path, **settings: Any) -> Mortal:
    folder.mkdir(exist_ok=True)
    if not (folder / "app.py").exists():
        write_app(folder)
    service = Mortal(folder)
    service.configure(
        app="app:app",
        name="signals",
        bind=[f"127.0.0.1:{free_port()}"],
        state_dir=str(folder / "state"),
        **{"workers": 2, **settings},
    )
    return service


@asynccontextmanager
async def started(folder: Path, **settings: Any) -> AsyncIterator[Mortal]:
    service = prepared(folder, **settings)
    try:
        await asyncio.to_thread(service.start)
        yield service
    finally:
        service.end()
        service.kill_all()


@asynccontextmanager
async def load_on(service: Mortal, reports: list[Report]) -> AsyncIterator[Load]:
    async with Load(f"http://127.0.0.1:{port_of(service)}/", clients=12, think=(0, 0.02)) as load:
        await load.warm(10)
        yield load
    reports.append(await load.stop())


def lost_nothing(report: Report, clients: int = 12) -> None:
    assert report.failed == 0, report.as_json()
    assert report.closed_by_server == 0, report.as_json()
    assert report.connections == (1,) * clients


async def kinds(service: Mortal) -> list[str]:
    return [row["plan"]["kind"] for row in await service.ask("history")]


# Reload


async def test_a_storm_of_hups_during_a_reload_makes_at_most_one_more(tmp_path: Path) -> None:
    async with started(tmp_path) as service:
        service.close_gate("import")
        service.signal(signal.SIGHUP)
        await service.somebody_at("import")
        service.arm("stop", "change.committed")
        for _ in range(50):
            service.signal(signal.SIGHUP)
        service.open_gate("import")
        await until(lambda: state_of(service.pid) == "T", "the reload commits")
        for _ in range(50):
            service.signal(signal.SIGHUP)
        service.signal(signal.SIGCONT)
        await until(lambda: service.log.count("committed kind=reload") == 2, "one more reload")
        assert (await service.ask("status"))["generation"] == 3
        assert (await kinds(service)).count("reload") == 2
        assert await service.ask("ping"), "and no third has begun"


async def test_of_two_reloads_at_once_one_is_refused_with_exit_code_5_at_once(tmp_path: Path) -> None:
    async with started(tmp_path) as service:
        service.close_gate("import")
        first = asyncio.create_task(service.ask("reload"))
        await service.somebody_at("import")
        second = await asyncio.to_thread(service.reload)
        assert second.code == 5, second
        assert "in progress" in second.err + second.out
        assert not first.done()
        service.open_gate("import")
        assert (await first)["outcome"]["status"] == "applied"


async def test_a_hup_while_the_service_stops_is_passed_over(tmp_path: Path) -> None:
    async with started(tmp_path) as service:
        answer = await InFlight.begin(tmp_path, port_of(service))
        service.signal(signal.SIGTERM)
        await until(lambda: "drain generation=1 started" in service.log, "it stops")
        service.signal(signal.SIGHUP)
        assert (await kinds(service)) == ["start"]
        assert await answer.finish() == b"v1 done"
        assert await asyncio.to_thread(service.wait, 10) == 0
        assert "kind=reload" not in service.log


# Stop


async def test_term_lets_requests_in_flight_finish_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with started(tmp_path) as service:
        answer = await InFlight.begin(tmp_path, port_of(service))
        service.signal(signal.SIGTERM)
        await until(lambda: "drain generation=1 started" in service.log, "it stops")
        assert service.process is not None
        assert service.process.poll() is None
        assert await answer.finish() == b"v1 done"
        assert await asyncio.to_thread(service.wait, 10) == 0
        assert not service.processes()


async def test_int_and_quit_stop_without_waiting_for_requests(tmp_path: Path) -> None:
    async def stops(number: signal.Signals) -> None:
        async with started(tmp_path / number.name) as service:
            answer = await InFlight.begin(service.folder, port_of(service))
            service.signal(number)
            assert await asyncio.to_thread(service.wait, 5) == 0
            assert b"done" not in await answer.reader.read()
            assert not service.processes()

    await asyncio.gather(stops(signal.SIGINT), stops(signal.SIGQUIT))


async def test_int_after_term_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    async with started(tmp_path) as service:
        answer = await InFlight.begin(tmp_path, port_of(service))
        service.signal(signal.SIGTERM)
        await until(lambda: "drain generation=1 started" in service.log, "it stops")
        service.signal(signal.SIGINT)
        assert await asyncio.to_thread(service.wait, 5) == 0
        assert b"done" not in await answer.reader.read()
        assert "service hurrying" in service.log


async def test_term_during_a_reload_gives_the_reload_up_and_stops(tmp_path: Path) -> None:
    async def at(gate: str) -> None:
        async with started(tmp_path / gate, health__path="/health") as service:
            answer = await InFlight.begin(service.folder, port_of(service))
            service.close_gate(gate)
            reload = asyncio.create_task(service.ask_in_vain("reload"))
            await service.somebody_at(gate)
            service.signal(signal.SIGTERM)
            await until(lambda: "change=2 rejected" in service.log, "the reload is given up")
            assert await answer.finish() == b"v1 done"
            assert await asyncio.to_thread(service.wait, 10) == 0
            await reload
            assert "reason=cancelled" in service.log
            assert not service.processes()

    await asyncio.gather(*(at(gate) for gate in ("import", "lifespan", "health")))


async def test_term_at_the_moment_of_commit_loses_no_request(tmp_path: Path) -> None:
    """What the new workers have accepted already is drained with the rest."""
    async with started(tmp_path, drain__linger=0.5) as service:
        async with Load(f"http://127.0.0.1:{port_of(service)}/", clients=12, think=(0, 0.02)) as load:
            await load.warm(10)
            service.arm("stop", "generation.serves")
            reload = asyncio.create_task(service.ask_in_vain("reload"))
            await until(lambda: state_of(service.pid) == "T", "both generations accept")
            answer = await InFlight.begin(tmp_path, port_of(service))
            service.signal(signal.SIGTERM)
            load.step("stopping")
            stopped = asyncio.create_task(load.stop())
            service.signal(signal.SIGCONT)
            assert await answer.finish() == b"v1 done"
            report = await stopped
        assert not set(report.failures) - {"refused"}, report.as_json()
        assert await asyncio.to_thread(service.wait, 10) == 0
        await reload
        assert not service.processes()


async def test_term_during_a_start_whose_import_hangs_stops_at_once(tmp_path: Path) -> None:
    service = prepared(tmp_path)
    service.close_gate("import")
    begun = asyncio.create_task(asyncio.to_thread(_start_in_vain, service))
    try:
        await service.somebody_at("import")
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.wait, 5) == 0
        await begun
        assert not service.processes()
    finally:
        service.end()
        service.kill_all()


async def test_term_while_a_dead_worker_is_being_replaced_stops_at_once(tmp_path: Path) -> None:
    async with started(tmp_path) as service:
        service.close_gate("lifespan")
        os.kill(min(service.workers()), signal.SIGKILL)
        await service.somebody_at("lifespan")
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.wait, 5) == 0
        assert not service.processes()


def _start_in_vain(service: Mortal) -> None:
    service.start(expect=0)


# Workers


async def test_ttin_and_ttou_add_and_remove_a_worker(tmp_path: Path) -> None:
    reports: list[Report] = []
    async with started(tmp_path) as service, load_on(service, reports) as load:
        for _ in range(2):
            service.signal(signal.SIGTTIN)
            service.signal(signal.SIGHUP)
        await until(lambda: len(service.workers()) >= 3, "one more")
        await until(lambda: "committed kind=reload" in service.log, "the reload comes after it")
        for _ in range(4):
            before = len(service.workers())
            service.signal(signal.SIGTTOU)
            await until(lambda before=before: len(service.workers()) < before or before == 1, "one less")
        await until(lambda: len(service.workers()) == 1, "never fewer than one")
        await load.more(100)
    lost_nothing(reports[0])


async def test_usr1_reopens_the_log_for_all_processes_after_it_was_renamed(tmp_path: Path) -> None:
    write_app(
        tmp_path,
        more="""
        import sys
        print("imported", os.getpid(), flush=True)
        inner = app
        async def app(scope, receive, send):
            if scope["type"] == "http":
                print("asked", scope["path"], os.getpid(), file=sys.stderr, flush=True)
            await inner(scope, receive, send)
        """,
    )
    log = tmp_path / "service.log"
    async with started(tmp_path, log__file=str(log)) as service:
        service.close_gate("import")
        reload = asyncio.create_task(service.ask("reload"))
        await service.somebody_at("import")
        log.rename(tmp_path / "service.log.1")
        service.signal(signal.SIGUSR1)
        await until(lambda: log.exists() and "log reopened" in log.read_text(), "the supervisor writes to it")
        answer = await InFlight.begin(tmp_path, port_of(service))
        await until(lambda: f"asked /slow {answer.pid}" in log.read_text(), "so does a worker")
        assert await answer.finish() == b"v1 done"
        service.open_gate("import")
        assert (await reload)["outcome"]["status"] == "applied"
        later = await InFlight.begin(tmp_path, port_of(service))
        await until(
            lambda: f"asked /slow {later.pid}" in log.read_text(),
            "so does a worker of the generation that was being imported meanwhile",
        )
        await later.finish()
        assert "asked /slow" not in (tmp_path / "service.log.1").read_text()


async def test_term_to_one_worker_replaces_it_without_a_loss(tmp_path: Path) -> None:
    reports: list[Report] = []
    async with started(tmp_path) as service:
        async with load_on(service, reports) as load:
            for _ in range(3):
                before = service.workers()
                victim = min(before)
                os.kill(victim, signal.SIGTERM)
                await until(lambda victim=victim: not is_alive(victim), "it drains and ends")
                await until(lambda before=before: len(service.workers() - before) == 1, "it is replaced")
                await load.more(50)
        status = await service.ask("status")
        assert status["recent_crashes"] == 0
    lost_nothing(reports[0])


async def test_a_worker_that_has_had_enough_before_its_generation_is_current_is_replaced_then(
    tmp_path: Path,
) -> None:
    reports: list[Report] = []
    async with started(tmp_path) as service, load_on(service, reports) as load:
        before = service.workers()
        service.arm("stop", "workers.probed")
        reload = asyncio.create_task(service.ask("reload"))
        await stopped(service.pid)
        early, late = sorted(service.workers() - before)
        await freeze(late)
        thaw(service.pid)  # the early one accepts, and the commit waits for the late one
        os.kill(early, signal.SIGTERM)
        await until(lambda: "retires" in service.log, "it asks to be replaced")
        thaw(late)
        assert (await reload)["outcome"]["status"] == "applied"
        await until(lambda: not is_alive(early), "it drains and ends")
        await until(lambda: len(service.workers()) == 2, "it is replaced")
        await load.more(50)
    lost_nothing(reports[0])


async def test_workers_are_recycled_after_max_requests_without_a_loss(tmp_path: Path) -> None:
    reports: list[Report] = []
    async with started(tmp_path, limits__max_requests=300, limits__max_requests_jitter=100) as service:
        first = service.workers()
        async with load_on(service, reports) as load:
            await until(
                lambda: service.log.count("retires") >= 6 and not first & service.workers(), "recycled thrice"
            )
            await load.more(100)
        assert (await service.ask("status"))["recent_crashes"] == 0
    lost_nothing(reports[0])


# Crashes


async def test_a_crash_loop_is_held_back_and_shown(tmp_path: Path) -> None:
    async with started(tmp_path, workers=1) as service:

        async def crash() -> None:
            """A worker dies, unless none is there at this moment."""
            for pid in service.workers():
                os.kill(pid, signal.SIGKILL)

        async def is_held_back() -> bool:
            await crash()
            status = await asyncio.to_thread(service.status)
            return bool(status["restart_delay_s"] >= 1.0 and status["recent_crashes"] >= 6)

        await until(is_held_back, "the delay doubles")
        assert (await service.ask("reload"))["outcome"]["status"] == "applied", (
            "a change need not wait for it"
        )
        status = await service.ask("status")
        assert (status["recent_crashes"], status["restart_delay_s"]) == (0, 0)
        await crash()
        await until(lambda: len(service.workers()) == 1, "at once again", timeout_s=1.0)


CRASHES_LATER = """
import threading, time

inner = app

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        async def counting(message):
            await send(message)
            asyncio.get_running_loop().call_later(0.3, os._exit, 7)
        await inner(scope, receive, counting)
    else:
        await inner(scope, receive, send)
"""


async def test_a_generation_whose_workers_keep_dying_on_probation_is_rolled_back_by_itself(
    tmp_path: Path,
) -> None:
    async with started(tmp_path) as service:
        write_app(tmp_path, "v2", more=CRASHES_LATER)
        assert (await service.ask("reload"))["outcome"]["status"] == "applied"
        await until(lambda: "committed kind=rollback" in service.log, "it is rolled back")

        async def is_recorded() -> bool:
            return (await service.ask("history"))[0]["status"] != "open"

        await until(is_recorded, "the outcome is recorded")
        (rollback, reload, _start) = await service.ask("history")
        assert rollback["requested_by"].startswith("probation")
        assert (rollback["plan"]["kind"], rollback["status"]) == ("rollback", "applied")
        assert reload["status"] == "applied"
        answer = await InFlight.begin(tmp_path, port_of(service))
        assert await answer.finish() == b"v1 done"
        await until(lambda: len(service.workers()) == 2, "only the old code is left")
        status = await service.ask("status")
        assert (status["generation"], len(status["generations"])) == (3, 1), "nobody waits to come back"
        assert (await kinds(service)) == ["rollback", "reload", "start"]
