"""What was found by trying to break a service from the side: each of these once did harm."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from hitless.load import Load
from serve.clients import Held, fetch
from serve.harm import is_alive
from serve.service import Service, running, wait_for, write_app

WAITING = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.sleep(60)
"""


def test_a_status_of_any_number_of_connections_is_answered_and_harms_no_worker(tmp_path: Path) -> None:
    """The list did not fit into a packet, and nothing that the worker said was heard any more."""
    write_app(tmp_path)
    with running(tmp_path, workers=1) as service, ExitStack() as held:
        where = service.address
        for _ in range(1100):
            held.enter_context(socket.create_connection(where, 10))
        result = service.command("status", "--connections", "100000", "--json")
        assert result.code == 0, result.err
        worker = result.json["generations"][0]["workers"][0]
        assert worker["answers"]
        assert worker["connections"] >= 1100
        assert len(worker["open"]) > 100
        assert service.reload().code == 0
        service.await_log("drain generation=1 change=2 ended")
        assert "died" not in service.log
        assert "handed_over=11" in service.log, service.log


def test_clients_with_endless_paths_cannot_silence_a_worker(tmp_path: Path) -> None:
    """The paths stood in what the worker reports, and in what it says that it has cut."""
    (tmp_path / "app.py").write_text(textwrap.dedent(WAITING))
    with running(tmp_path, workers=1, drain__timeout="1s") as service, ExitStack() as held:
        where = service.address
        for _ in range(30):
            client = held.enter_context(socket.create_connection(where, 10))
            client.sendall(b"GET /" + b"a" * 15000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")

        def in_flight() -> int:
            worker = service.status()["generations"][0]["workers"][0]
            return int(worker["in_flight"]) if worker["answers"] else -1

        wait_for(lambda: in_flight() == 30, 10, what="all are in flight", else_say=lambda: service.log)
        assert service.reload().code == 0
        service.await_log("drain generation=1 change=2 ended")
        assert "died" not in service.log
        assert "cut=30" in service.log


def test_more_addresses_than_a_worker_can_be_given_are_refused_before_anything_moves(tmp_path: Path) -> None:
    write_app(tmp_path)
    with running(tmp_path, workers=1) as service:
        service.configure(bind=[f"unix:{tmp_path}/{number}.sock" for number in range(300)])
        result = service.reload()
        assert result.code == 2, result.out
        assert result.reason == "address_invalid"
        assert service.status()["generation"] == 1


POOL = """
import asyncio, os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

pool = None

def child():
    return os.getpid()

async def app(scope, receive, send):
    global pool
    if scope["type"] != "http":
        return
    if scope["path"] == "/pool":
        pool = pool or ProcessPoolExecutor(1, mp_context=get_context("fork"))
        answer = str(pool.submit(child).result()).encode()
    else:
        answer = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(answer)).encode())]})
    await send({"type": "http.response.body", "body": answer})
"""


def is_free(where: tuple[str, int]) -> bool:
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            again.bind(where)
        except OSError:
            return False
    return True


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "app.py").write_text(POOL)
    with running(tmp_path, workers=1) as service:
        yield service


def test_a_pool_of_processes_of_the_application_ends_with_its_worker(pooled: Service) -> None:
    """Each reload left one behind, for good."""
    child = int(fetch(pooled.address, "/pool").body)
    assert pooled.reload().code == 0
    wait_for(lambda: not is_alive(child), 10, what="the pool's process ends", else_say=lambda: pooled.log)
    last = int(fetch(pooled.address, "/pool").body)
    assert pooled.command("stop").code == 0
    assert pooled.wait() == 0
    wait_for(lambda: not is_alive(last), 10, what="the pool's process ends")


HANDLERS = """
import atexit, os, time

def note(what):
    with open("ended", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

def fails():
    raise ValueError("a handler that fails")

def hangs():
    note("hangs")
    time.sleep(600)

if HANGS:
    atexit.register(hangs)
atexit.register(note, "import")
atexit.register(fails)
is_started = False

async def app(scope, receive, send):
    global is_started
    if scope["type"] != "http":
        return
    if not is_started:
        is_started = True
        atexit.register(note, "request")
    answer = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(answer)).encode())]})
    await send({"type": "http.response.body", "body": answer})
"""


@pytest.mark.parametrize("hangs", [False, True])
def test_atexit_handlers_run_when_a_worker_leaves_and_cannot_keep_it(tmp_path: Path, hangs: bool) -> None:
    (tmp_path / "app.py").write_text(HANDLERS.replace("HANGS", str(hangs)))
    ended = tmp_path / "ended"
    with running(tmp_path, workers=1) as service:
        worker = int(fetch(service.address, "/").body)
        assert service.reload().code == 0
        wait_for(lambda: not is_alive(worker), 30, what="the old worker leaves", else_say=lambda: service.log)
        expected = [f"request {worker}", f"import {worker}"] + [f"hangs {worker}"] * hangs
        assert ended.read_text().splitlines() == expected, "each once, in the order of Python's own end"
        assert "a handler that fails" in service.log


def test_what_an_application_forks_does_not_hold_its_sockets(pooled: Service) -> None:
    """A child of a dead worker kept the port busy, and kept clients waiting for the end of their connections."""
    where = pooled.address
    with Held(where) as held:
        worker = int(held.ask("/").body)
        child = int(held.ask("/pool").body)
        try:
            os.kill(pooled.pid, signal.SIGKILL)
            os.kill(worker, signal.SIGKILL)
            pooled.wait()
            held.sock.settimeout(5)
            with suppress(ConnectionResetError):
                assert held.sock.recv(1) == b""
            wait_for(lambda: is_free(where), 5, what="the port is free")
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("wsgi", [False, True])
def test_a_log_that_cannot_be_written_harms_no_request(tmp_path: Path, *, wsgi: bool) -> None:
    """Neither a full disk nor a reader that is gone: with an access log every client hung."""
    write_app(tmp_path, wsgi=wsgi)
    with running(tmp_path, workers=1, log__access="common", log__file="/dev/full") as service:
        where = service.address
        with Held(where) as held:
            assert held.ask("/1").status == 200
            template = service.status()["generations"][0]["template_pid"]
            service.configure(log__file=str(tmp_path / "other.log"))
            assert service.reload().code == 0
            assert held.ask("/2").status == 200
            wait_for(
                lambda: "GET /2" in (tmp_path / "other.log").read_text(), 10, what="the access log goes on"
            )
            assert is_alive(template), "kept for a rollback"
        assert service.command("stop").code == 0
        assert service.wait() == 0


def test_nobody_reading_the_log_any_more_harms_no_request(tmp_path: Path) -> None:
    write_app(tmp_path)
    service = Service(tmp_path)
    service.configure(
        app="app:app", bind=["127.0.0.1:0"], state_dir=str(tmp_path / "state"), log__access="common"
    )
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "hitless", "serve", "-c", str(service.config)]
    service.process = subprocess.Popen(
        command, cwd=tmp_path, env=service.environ, stdout=writer, stderr=writer, start_new_session=True
    )
    os.close(writer)
    try:
        wait_for(lambda: service.command("status").code == 0, 20, what="it serves")
        wait_for(lambda: service.status()["generation"] == 1, 20, what="it serves")
        os.close(reader)
        with Held(service.address) as held:
            assert held.ask("/1").status == 200
            assert service.reload().code == 0
            assert held.ask("/2").status == 200
            assert service.command("upgrade").code == 0
            assert held.ask("/3").status == 200
        assert service.command("stop").code == 0
        assert service.wait() == 0
    finally:
        service.end()


@pytest.mark.parametrize(
    "habit",
    [
        "import sys; sys.stdout.close(); sys.stderr = None",
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "import os; os.chdir('/'); os.umask(0o777)",
        "import os, signal\nfor n in (1, 2, 3, 10, 12, 13, 15, 17): signal.signal(n, lambda *a: os.waitpid(-1, os.WNOHANG))",
        "import os\nif os.fork() == 0:\n    import time\n    time.sleep(20)\n    os._exit(0)",
    ],
    ids=["closes its output", "ignores its children", "moves away", "has handlers", "forks"],
)
def test_bad_habits_of_an_application_at_its_import_stay_its_own(tmp_path: Path, habit: str) -> None:
    write_app(tmp_path, prefix=habit + "\n")
    with running(tmp_path, workers=2, log__file=str(tmp_path / "own.log")) as service:
        with Held(service.address) as held:
            assert held.ask().status == 200
            assert service.reload().code == 0
            service.signal(signal.SIGUSR1)
            assert service.command("scale", "3").code == 0
            assert service.command("rollback").code == 0
            assert held.ask().status == 200
        assert service.command("stop").code == 0
        assert service.wait() == 0
        assert "died" not in (tmp_path / "own.log").read_text()


class Ordeal:
    """Operators who command at random, from several terminals at once, and signals between; every exit code is explained."""

    EXPLAINED = frozenset(
        # The third: the application is read while another terminal writes it.
        {"import_failed", "not_settled", "attribute_missing", "nothing_to_roll_back_to"}
    )

    def __init__(self, service: Service, seed: int, seconds: float, *, wsgi: bool) -> None:
        self.service, self.seed, self.wsgi = service, seed, wsgi
        self.end = time.monotonic() + seconds
        self.unexplained: list[tuple[str, int, str]] = []

    async def terminal(self, number: int) -> None:
        chance = random.Random(self.seed * 100 + number)
        commands = ("reload", "reload", "break", "rollback", "scale", "upgrade", "status", "diff", "metrics")
        while time.monotonic() < self.end:
            name = chance.choice(commands)
            if name == "break":
                (self.service.folder / "app.py").write_text("1 / 0")
            elif name == "reload":
                write_app(
                    self.service.folder, f"v{chance.random()}", wsgi=self.wsgi == (chance.random() < 0.7)
                )
            words = ["reload"] if name == "break" else [name]
            words += [str(chance.randint(1, 5))] if name == "scale" else []
            result = await asyncio.to_thread(self.service.command, *words, "--json")
            if result.code not in (0, 5) and not (result.code == 3 and result.reason in self.EXPLAINED):
                self.unexplained.append((name, result.code, result.out + result.err))
            if name == "break":
                write_app(self.service.folder, wsgi=self.wsgi)
            await asyncio.sleep(chance.random() * 0.3)

    async def signals(self) -> None:
        chance = random.Random(self.seed)
        names = ("SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGCHLD", "SIGSTOP", "storm")
        while time.monotonic() < self.end:
            await asyncio.sleep(chance.random() * 1.5)
            name = chance.choice(names)
            for _ in range(20 if name == "storm" else 1):
                self.service.signal(signal.SIGHUP if name == "storm" else signal.Signals[name])
            if name == "SIGSTOP":
                await asyncio.sleep(chance.random())
                self.service.signal(signal.SIGCONT)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(4))
async def test_operators_at_random_lose_nobody_a_request_or_a_connection(tmp_path: Path, seed: int) -> None:
    wsgi = seed % 2 == 1
    write_app(tmp_path, wsgi=wsgi)
    settings = {"drain__timeout": "20s", "start__probation": "3s", "metrics__bind": "127.0.0.1:0"}
    with running(tmp_path, workers=2, **settings) as service:
        host, port = service.address
        async with Load(f"http://{host}:{port}", clients=200, think=(0, 0.5), seed=seed) as load:
            await load.warm(30)
            ordeal = Ordeal(service, seed, 60.0, wsgi=wsgi)
            await asyncio.gather(*map(ordeal.terminal, range(3)), ordeal.signals())
        report = await load.stop()
        assert report.failed == 0, report.as_json()
        assert report.closed_by_server == 0
        assert report.connections == (1,) * 200
        assert not ordeal.unexplained
        await asyncio.to_thread(
            wait_for,
            lambda: service.status()["busy"] is None and len(service.status()["generations"]) == 1,
            60,
            what="calm",
        )
        (serving,) = service.status()["generations"]
        assert [one["state"] for one in serving["workers"]] == ["serving"] * serving["wanted_workers"]
        rows = service.command("history", "--json", "-n", "1000").json
        assert all(row["status"] for row in rows), "none is left open"
        assert "died" not in service.log
        assert service.command("stop").code == 0
        assert service.wait() == 0
