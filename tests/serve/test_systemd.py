"""What a service tells the service manager, and the sockets that it takes from it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve.clients import Held, fetch, place, reload, state, tell, unharmed, write_teller
from serve.service import Service
from serve.test_changes import beside

PASS_ON = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "hitless", *sys.argv[1:]])
"""


class Manager:
    """The service manager's end of NOTIFY_SOCKET: every datagram, in order."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "manager"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(self.path))
        self._sock.settimeout(20)
        self.heard: list[dict[str, str]] = []

    def hear(self, key: str) -> dict[str, str]:
        """The next datagram that says `key`; those before it are heard, too."""
        while True:
            said = dict(line.split("=", 1) for line in self._sock.recv(65536).decode().splitlines())
            self.heard.append(said)
            if key in said:
                return said

    def close(self) -> None:
        self._sock.close()


@contextmanager
def managed(folder: Path, **settings: object) -> Iterator[tuple[Service, Manager]]:
    """A service with a manager that listens from the first word on."""
    write_teller(folder)
    manager = Manager(folder)
    service = Service(folder)
    base = {"app": "app:app", "bind": ["127.0.0.1:0"], "state_dir": str(folder / "state")}
    service.configure(**{**base, **settings})
    environ = {**service.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "400000"}
    with (folder / "log").open("ab") as log:
        service.process = subprocess.Popen(
            [sys.executable, "-m", "hitless", "serve", "-c", str(service.config)],
            cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield service, manager
    finally:
        service.end()
        manager.close()


def test_the_manager_hears_of_every_phase_in_order(tmp_path: Path) -> None:
    with managed(tmp_path, drain__timeout="7s") as (service, manager):
        ready = manager.hear("READY")
        assert manager.heard[0]["STATUS"] == "starting"
        assert int(manager.heard[0]["EXTEND_TIMEOUT_USEC"]) >= 60_000_000
        assert ready == {"READY": "1", "STATUS": "generation 1 serves", "MAINPID": str(service.pid)}
        assert manager.hear("WATCHDOG") == {"WATCHDOG": "1"}

        service.signal(signal.SIGHUP)
        began = manager.hear("RELOADING")
        assert (began["RELOADING"], began["STATUS"]) == ("1", "reloading")
        assert int(began["MONOTONIC_USEC"]) > 0, "without it systemd waits for ever"
        assert manager.hear("READY")["STATUS"] == "generation 2 serves"

        (tmp_path / "app.py").write_text("import nowhere")
        assert tell(service, "reload")["outcome"]["status"] == "rejected"
        manager.hear("RELOADING")
        refused = manager.hear("READY")
        assert "nowhere" in refused["STATUS"], "ready as before, and why nothing has changed"
        for _ in range(2):
            manager.hear("WATCHDOG")

        service.signal(signal.SIGTERM)
        stopping = manager.hear("STOPPING")
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) >= 7_000_000
        assert service.wait() == 0
        said = [next(iter(each)) for each in manager.heard if "WATCHDOG" not in each]
        assert said == ["STATUS", "READY", "RELOADING", "READY", "RELOADING", "READY", "STOPPING"]


def test_a_start_that_is_refused_is_never_called_ready(tmp_path: Path) -> None:
    with managed(tmp_path, workers=1, app="nowhere:app") as (service, manager):
        assert service.wait() == 1
        manager.hear("STATUS")
        manager._sock.setblocking(False)
        rest = []
        while True:
            try:
                rest.append(manager._sock.recv(65536))
            except BlockingIOError:
                break
        assert not any(b"READY" in each for each in rest)


@contextmanager
def activated(folder: Path, bind: list[str], *listening: socket.socket) -> Iterator[Service]:
    """A service that inherits `listening` as descriptors from 3 on, as systemd passes them."""
    service = Service(folder)
    service.configure(app="app:app", bind=bind, state_dir=str(folder / "state"))
    fds = [sock.fileno() for sock in listening]

    def inherit() -> None:
        kept = [os.dup2(fd, 100 + number, inheritable=False) for number, fd in enumerate(fds)]
        for number, fd in enumerate(kept):
            os.dup2(fd, 3 + number, inheritable=True)

    manager = Manager(folder)
    with (folder / "log").open("ab") as log:
        service.process = subprocess.Popen(
            [sys.executable, "-c", PASS_ON, "serve", "-c", str(service.config)],
            cwd=folder, stdout=log, stderr=log, start_new_session=True, close_fds=False, preexec_fn=inherit,
            env={**service.environ, "NOTIFY_SOCKET": str(manager.path), "LISTEN_FDS": str(len(fds))},
        )  # fmt: skip
    try:
        manager.hear("READY")
        yield service
    finally:
        service.end()
        manager.close()


async def test_sockets_that_systemd_passes_are_served_and_kept_over_reloads(tmp_path: Path) -> None:
    write_teller(tmp_path)
    path = tmp_path / "s"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        with activated(tmp_path, ["systemd"], tcp, unix) as service:
            where = tcp.getsockname()
            assert state(service)["addresses"] == [f"127.0.0.1:{where[1]}", f"unix:{path}"]
            assert "LISTEN_FDS" not in fetch(where).json["env"]
            async with unharmed(where, path) as load:
                for _ in range(2):
                    await beside(reload, service)
                    await load.more(40)
        assert path.exists(), "the socket belongs to the manager"
        with Held(path) as queued:  # nobody serves; the manager's socket still takes connections
            queued.send()


def test_an_inherited_descriptor_is_named_by_its_number_and_may_be_given_up(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
        activated(tmp_path, ["fd:4", "127.0.0.1:0"], first, second) as service,
    ):
        assert place(service) == second.getsockname()
        with Held(second.getsockname()) as held:
            assert held.ask().status == 200
            reload(service, bind=["127.0.0.1:0", "fd:3"])
            assert held.ask().headers["connection"] == "close"
        assert fetch(first.getsockname()).status == 200
