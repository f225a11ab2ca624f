"""Everything about a running service changes on reload, and no client loses a request or its connection over it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from serve.clients import (
    Held,
    fetch,
    free_port,
    in_flight_now,
    open_gate,
    pids,
    place,
    reload,
    state,
    tell,
    unharmed,
    write_teller,
)
from serve.service import running, wait_for

T = TypeVar("T")


async def beside(work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Blocking `work` in a thread, so that the load goes on meanwhile."""
    return await asyncio.to_thread(work, *args, **kwargs)


async def test_the_number_of_workers_goes_up_and_down(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path, workers=2) as service:
        async with unharmed(place(service)) as load:
            answer = await beside(tell, service, "scale", workers=4)
            assert answer["outcome"]["status"] == "applied"
            assert answer["outcome"]["generation"] == 1, "the code stays what it is"
            assert len(pids(service)) == 4
            await load.more(50)
            await beside(tell, service, "scale", workers=1)
            wait_for(lambda: len(pids(service)) == 1, 10, what="one worker")
            await load.more(50)
            for workers in (3, 1):
                await beside(reload, service, workers=workers)
                assert len(pids(service)) == workers
                await load.more(50)
        unchanged = tell(service, "scale", workers=1)["outcome"]
        assert (unchanged["status"], unchanged["generation"]) == ("unchanged", 3)


async def test_an_address_is_added_without_touching_the_others(tmp_path: Path) -> None:
    write_teller(tmp_path)
    path = tmp_path / "s"
    with running(tmp_path, workers=2) as service:
        first = place(service)
        async with unharmed(first):
            bind = ["127.0.0.1:0", "[::1]:0", f"unix:{path}?mode=0600"]
            await beside(reload, service, bind=bind)
            assert place(service) == first
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            async with unharmed(path, place(service, 1)):
                for _ in range(3):
                    await beside(reload, service)
        # What may change about a socket that stays: who may connect, and how many may wait.
        inode = path.stat().st_ino
        reload(service, bind=[*bind[:2], f"unix:{path}?mode=0666"], backlog=7)
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_ino) == (0o666, inode)
        assert listen_queue(first[1]) == 7


def listen_queue(port: int) -> int:
    """The length that the accept queue of a listening port may have (SOCK_DIAG, as `ss` shows it)."""
    shown = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return int(shown.stdout.split()[2])


def test_clients_of_an_address_that_goes_are_answered_in_flight_and_in_the_queue(tmp_path: Path) -> None:
    write_teller(tmp_path)
    path = tmp_path / "s"
    with running(tmp_path, bind=["127.0.0.1:0", f"unix:{path}"], drain__linger="5s") as service:
        with Held(path) as idle, Held(path) as in_flight:
            assert idle.ask().status == 200
            in_flight.send("/gate")
            wait_for(lambda: in_flight_now(service) == 1, 20, what="a request in flight")
            (worker,) = pids(service)
            os.kill(worker, signal.SIGSTOP)  # from now on it accepts nobody
            queued = [Held(path) for _ in range(5)]
            for each in queued:
                each.send()
            reload(service, bind=["127.0.0.1:0"])
            assert not path.exists()
            os.kill(worker, signal.SIGCONT)
            open_gate(service)
            assert in_flight.receive().status == 200
            for each in queued:
                assert each.receive().status == 200
                each.close()
            for each in (idle, in_flight):
                goodbye = each.ask()
                assert (goodbye.status, goodbye.headers["connection"]) == (200, "close")
        wait_for(lambda: not state(service)["drains"], 10, what="the end of the drain")
        assert "connection.cut" not in service.log


async def test_an_address_becomes_a_wildcard_and_back_under_the_same_connections(tmp_path: Path) -> None:
    write_teller(tmp_path)
    port = free_port()
    with running(tmp_path, bind=[f"127.0.0.1:{port}"], workers=2) as service:
        async with unharmed(("127.0.0.1", port)) as load:
            for host in ("0.0.0.0", "127.0.0.1", "0.0.0.0"):
                await beside(reload, service, bind=[f"{host}:{port}"])
                assert state(service)["addresses"] == [f"{host}:{port}"]
                await load.more(60)


async def test_connections_move_between_an_asgi_and_a_wsgi_application(tmp_path: Path) -> None:
    write_teller(tmp_path, module="asgi")
    write_teller(tmp_path, wsgi=True, module="wsgi")
    with running(tmp_path, app="asgi:app", workers=2) as service:
        async with unharmed(place(service)) as load:
            with Held(place(service)) as held:
                for kind in ("asgi", "wsgi", "asgi", "wsgi"):
                    await beside(reload, service, app=f"{kind}:app")
                    assert (await beside(held.ask)).json["interface"] == kind
                    await load.more(40)


def test_the_process_of_the_application_changes_in_every_way(tmp_path: Path) -> None:
    write_teller(tmp_path)
    other = tmp_path / "other"
    for folder in (other, tmp_path / "library"):
        folder.mkdir()
    write_teller(other, "the other directory")
    (other / "made.py").write_text("from app import app\ndef make(): return app\n")
    with running(tmp_path, env={"COLOUR": "red"}) as service, Held(place(service)) as held:
        before = held.ask().json
        assert (before["env"]["COLOUR"], before["root_path"]) == ("red", "")
        reload(
            service,
            app="made:make()",
            directory=str(other),
            path=[str(tmp_path / "library")],
            env={"SHAPE": "round"},
            umask="0027",
            root_path="/prefix",
            server_name="other/1",
        )
        answer = held.ask("/prefix/x")
        now = answer.json
        assert now["version"] == "the other directory"
        assert now["cwd"] == str(other)
        assert now["path"][:2] == [str(other), str(tmp_path / "library")]
        assert "COLOUR" not in now["env"]
        assert now["env"]["SHAPE"] == "round"
        assert (now["umask"], now["root_path"]) == (0o027, "/prefix")
        assert answer.headers["server"] == "other/1"
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS"):
            assert name not in now["env"], "what is the supervisor's is not the application's"
        reload(
            service, directory=None, app="app:app", server_name="", root_path="", umask=None, path=[], env={}
        )
        answer = held.ask()
        assert (answer.json["version"], answer.json["umask"]) == ("v1", before["umask"])
        assert "server" not in answer.headers


def test_limits_and_timeouts_change_for_connections_that_are_open_already(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path) as service:
        where = place(service)
        with Held(where) as big, Held(where) as headed, Held(where) as idle:
            for held in (big, headed, idle):
                assert held.ask("/", method="POST", body=b"x" * 2000, X_Long="y" * 2000).status == 200
            reload(
                service, limits__body_bytes=1000, limits__header_bytes="1KiB", timeouts__keep_alive="300ms"
            )
            assert big.ask("/", method="POST", body=b"x" * 2000).status == 413
            assert headed.ask(X_Long="y" * 2000).status == 431
            idle.sock.settimeout(5)
            assert idle.sock.recv(1) == b"", "closed when the new keep-alive time is over"
        assert fetch(where).status == 200


def test_threads_of_a_wsgi_application_change(tmp_path: Path) -> None:
    write_teller(tmp_path, wsgi=True)
    with running(tmp_path, threads=1) as service, Held(place(service)) as held:
        assert (held.ask().json["threads"], held.ask().json["processes"]) == (False, False)
        reload(service, threads=4, workers=2)
        assert (held.ask().json["threads"], held.ask().json["processes"]) == (True, True)
        slow = [Held(place(service)) for _ in range(4)]
        for each in slow:
            each.send("/slow/0.3")
        assert [each.receive().status for each in slow] == [200] * 4
        for each in slow:
            each.close()


def test_concurrency_is_limited_from_the_next_generation_on(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path) as service:
        reload(service, limits__concurrency=1)
        with Held(place(service)) as slow:
            slow.send("/gate")
            wait_for(lambda: in_flight_now(service) == 1, 20, what="a request in flight")
            refused = fetch(place(service))
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            open_gate(service)
            assert slow.receive().status == 200


def test_new_code_answers_after_a_reload_and_old_code_never_again(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path, workers=4) as service, Held(place(service)) as held:
        for number in range(2, 6):
            write_teller(tmp_path, f"v{number}")
            reload(service)
            assert {held.ask().json["version"] for _ in range(5)} == {f"v{number}"}
            assert {fetch(place(service)).json["version"] for _ in range(8)} == {f"v{number}"}


async def test_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    """Neither descriptors nor processes nor memory of the supervisor grow with the number of reloads."""
    write_teller(tmp_path)
    with running(tmp_path, workers=2) as service:
        async with unharmed(place(service)):

            def measure() -> tuple[int, int]:
                wait_for(lambda: not state(service)["drains"], 10, what="the end of the drains")
                return len(list(Path(f"/proc/{service.pid}/fd").iterdir())), len(children(service.pid))

            for _ in range(3):
                await beside(reload, service)
            before = await beside(measure)
            for _ in range(10):
                await beside(reload, service)

            def is_as_before() -> bool:
                # the connection of the command that has just asked may still be closing
                descriptors, processes = measure()
                return descriptors <= before[0] and processes == before[1]

            await beside(lambda: wait_for(is_as_before, 15, what=f"as few as before: {before}"))
        assert memory_kb(service.pid) <= 40 * 1000


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
