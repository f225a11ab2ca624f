"""The supervisor is replaced by another program in the same process, and no client notices."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hitless.load import Load
from serve.harm import Mortal, until, write_gated_app
from serve.service import Service, running, wait_for, write_app


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    write_app(tmp_path)
    with running(tmp_path, workers=2, start__probation="10m", drain__timeout="60s") as service:
        yield service


def shown(service: Service) -> dict[str, Any]:
    status = service.status()
    return {
        "pid": status["pid"],
        "generation": status["generation"],
        "workers": [worker["pid"] for one in status["generations"] for worker in one["workers"]],
        "templates": [one["template_pid"] for one in status["generations"]],
        "addresses": status["addresses"],
        "on_probation": status["on_probation"],
    }


async def test_everything_goes_on_under_another_program_and_no_client_notices(service: Service) -> None:
    host, port = service.address
    async with Load(f"http://{host}:{port}", clients=24, think=(0, 0.1)) as load:
        await load.warm(10)
        write_app(service.folder, "v2")
        assert (await asyncio.to_thread(service.reload)).code == 0
        before = await asyncio.to_thread(shown, service)
        for _ in range(3):
            result = await asyncio.to_thread(service.command, "upgrade", "--json")
            assert result.code == 0, result.out + result.err
            assert result.json["now"]["pid"] == service.pid
            assert await asyncio.to_thread(shown, service) == before
            await load.more(50)
        assert (await asyncio.to_thread(service.reload)).code == 0
        rolled_back = await asyncio.to_thread(service.command, "rollback", "--json")
        assert rolled_back.code == 0, rolled_back.out
    report = await load.stop()
    assert report.failed == 0, report.as_json()
    assert report.closed_by_server == 0
    assert report.connections == (1,) * 24
    history = service.command("history", "--json").json
    assert [row["plan"]["kind"] for row in history].count("upgrade") == 3
    assert all(row["status"] == "applied" for row in history)
    assert service.command("stop").code == 0
    assert service.wait() == 0


async def test_the_new_program_mends_what_dies_and_keeps_what_was_kept(service: Service) -> None:
    write_app(service.folder, "v2")
    assert service.reload().code == 0
    assert service.command("upgrade").code == 0
    victim = shown(service)["workers"][0]
    os.kill(victim, signal.SIGKILL)
    wait_for(
        lambda: (
            len(service.status()["generations"][0]["workers"]) == 2
            and victim not in shown(service)["workers"]
        ),
        20,
        what="the dead worker is replaced",
        else_say=lambda: service.log,
    )
    assert service.command("rollback", "--json").json["outcome"]["generation"] == 3


async def test_a_drain_goes_on_and_is_recorded(service: Service) -> None:
    host, port = service.address
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    wait_for(
        lambda: sum(w["in_flight"] for w in service.status()["generations"][0]["workers"]) == 1,
        10,
        what="it began",
    )
    assert service.reload().code == 0
    assert service.command("upgrade").code == 0
    drains = service.status()["drains"]
    assert [drain["generation"] for drain in drains] == [1]
    writer.write(b"cd")
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    service.await_log("drain generation=1 change=2 ended")
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        await reader.readuntil(b"v1")
    writer.close()


def test_a_signal_in_the_middle_is_not_lost(service: Service) -> None:
    pid = service.pid
    assert service.command("upgrade").code == 0
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: service.status()["generation"] == 2, 20, what="the reload", else_say=lambda: service.log)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("#!/bin/sh\necho no module named hitless >&2; exit 1\n", "no module named hitless"),
        ("#!/bin/sh\nsleep 60\n", None),
    ],
)
def test_a_program_that_cannot_take_over_is_refused_and_the_old_one_goes_on(
    service: Service, program: str, says: str | None
) -> None:
    if says is None:
        service.configure(start__timeout="1s")
        assert service.reload().code == 0
    python = service.folder / "python"
    python.write_text(program)
    python.chmod(0o755)
    before = shown(service)
    result = service.command("upgrade", "--python", str(python), "--json")
    assert result.code == 3, result.out + result.err
    assert result.reason == ("rehearsal_failed" if says else "deadline_passed")
    if says:
        assert says in result.json["outcome"]["message"]
    assert shown(service) == before
    assert service.reload().code == 0


def test_another_interpreter_takes_over(service: Service, tmp_path: Path) -> None:
    """Here the same one by another name: what matters is that the program on disk is the one that goes on."""
    python = tmp_path / "other-python"
    python.write_text(
        textwrap.dedent(f"""\
        #!/bin/sh
        echo taken over >&2
        exec {sys.executable} "$@"
        """)
    )
    python.chmod(0o755)
    assert service.command("upgrade", "--python", str(python)).code == 0
    service.await_log("taken over")
    service.await_log("service generation=1")
    assert service.status()["pid"] == service.pid


def test_no_descriptor_is_lost_or_left_by_upgrades(service: Service) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{service.pid}/fd").iterdir()))

    assert service.command("upgrade").code == 0
    before = descriptors()
    for _ in range(3):
        assert service.command("upgrade").code == 0
    wait_for(
        lambda: descriptors() <= before,
        10,
        what="descriptors closed",
        else_say=lambda: (before, descriptors()),
    )
    assert descriptors() == before


def test_what_is_refused_after_an_upgrade_names_the_generation_that_serves(service: Service) -> None:
    assert service.command("upgrade").code == 0
    (service.folder / "app.py").write_text("1 / 0")
    result = service.reload()
    assert result.code == 3
    assert result.json["outcome"]["generation"] == 1
    assert service.status()["last_outcome"]["reason"] == "import_failed"
    assert service.command("upgrade").code == 0
    assert service.status()["uptime_s"] > 1


def moments(service: Service, number: signal.Signals, delays: Sequence[float]) -> None:
    """Sends the signal at these moments after an upgrade was asked for."""
    upgrade = subprocess.Popen(
        [sys.executable, "-m", "hitless", "upgrade"], cwd=service.folder, env=service.environ
    )
    wait_for(lambda: "kind=upgrade" in service.log, 20, what="the upgrade begins")
    began = time.monotonic()
    for delay in delays:
        time.sleep(max(0.0, began + delay - time.monotonic()))
        os.kill(service.pid, number)
    upgrade.wait(30)


@pytest.mark.parametrize("delay", [0.05, 0.2, 0.3, 0.4, 0.6])
def test_a_stop_in_the_middle_of_an_upgrade_is_not_lost(service: Service, delay: float) -> None:
    control = service.folder / "run" / "hitless.sock"
    assert control.exists()
    moments(service, signal.SIGTERM, [delay])
    assert service.wait(20) == 0, service.log
    assert not control.exists()


def test_reloads_asked_for_in_the_middle_of_an_upgrade_are_not_lost(service: Service) -> None:
    service.configure(metrics__bind="127.0.0.1:0")
    assert service.reload().code == 0
    for _ in range(3):
        before = service.status()["generation"]
        service.folder.joinpath("log").write_text("")
        moments(service, signal.SIGHUP, [number / 20 for number in range(16)])
        wait_for(
            lambda before=before: (
                service.status()["generation"] > before and service.status()["busy"] is None
            ),
            30,
            what="a reload",
            else_say=lambda: service.log,
        )
    rows = service.command("history", "--json").json
    assert all(row["status"] == "applied" for row in rows), rows
    status = service.status()
    assert len(status["generations"][0]["workers"]) == 2
    assert "Traceback" not in service.log


async def test_a_worker_that_dies_in_the_middle_of_an_upgrade_leaves_no_ghost(tmp_path: Path) -> None:
    """What was just being started was never waited for by the next program, and stayed for good."""
    write_gated_app(tmp_path)
    service = Mortal(tmp_path)
    service.configure(app="app:app", bind=["127.0.0.1:0"], state_dir=str(tmp_path / "state"), workers=2)
    try:
        service.start()
        python = tmp_path / "slow-python"
        python.write_text(f'#!/bin/sh\nsleep 0.5\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        service.close_gate("lifespan")
        asked = asyncio.create_task(service.ask("upgrade", python=str(python)))
        await asyncio.to_thread(service.await_log, "kind=upgrade")
        os.kill(next(iter(service.workers())), signal.SIGKILL)
        await service.somebody_at("lifespan")
        assert (await asked)["outcome"]["status"] == "applied"
        await asyncio.to_thread(service.await_log, "resumed")
        service.open_gate("lifespan")

        async def states() -> list[str]:
            status = await service.ask("status")
            return [one["state"] for one in status["generations"][0]["workers"]]

        async def is_whole() -> bool:
            return await states() == ["serving", "serving"] and len(service.processes()) == 4

        await until(is_whole, "a supervisor, a template and two workers that serve, and nobody else")
        await service.ask("stop")
        assert await asyncio.to_thread(service.wait) == 0
        assert not service.processes()
    finally:
        service.end()
        service.kill_all()


def test_an_upgrade_goes_on_without_its_control_socket_and_a_signal_brings_it_back(service: Service) -> None:
    """The next program could not begin, and the service ended."""
    run = service.folder / "run"
    python = service.folder / "removes-it"
    python.write_text(f'#!/bin/sh\nrm -rf {run}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    service.command("upgrade", "--python", str(python))
    service.await_log("resumed")
    assert not run.exists()
    for number in (signal.SIGUSR1, signal.SIGHUP):
        shutil.rmtree(run, ignore_errors=True)
        service.signal(number)
        wait_for(
            lambda: service.command("status").code == 0, 20, what="it is there", else_say=lambda: service.log
        )
    assert service.command("stop").code == 0
    assert service.wait() == 0
    assert not (run / "hitless.sock").exists()
