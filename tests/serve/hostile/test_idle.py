"""Ten thousand clients that say nothing cost little, and a reload loses none of them."""

from __future__ import annotations

import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from serve.clients import pids, place, state, tell
from serve.service import running, wait_for, write_app

CONNECTIONS = 10_000
BATCH = 500
"""Connections opened at a time: below the listening socket's backlog."""
SOURCES = 4
"""Loopback addresses to connect from: one has fewer ports than that, and others use them."""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENCE_S = 60.0
LIMIT_BYTES = 20 * 1024
"""Of a worker's own memory, per idle connection."""
HANDOVER_S = 30.0


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as are allowed, for the clients in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_descriptor_limit()
    assert before[1] > CONNECTIONS + 500, f"this test needs {CONNECTIONS} descriptors; raise the hard limit"
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connect(address: tuple[str, int], number: int) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: the port is chosen when we connect
    sock.bind((f"127.0.0.{1 + number % SOURCES}", 0))
    sock.connect(address)
    return sock


def ask_all(clients: list[socket.socket]) -> Counter[str]:
    """A request on every connection; how many each process of each version answered."""
    for client in clients:
        client.sendall(GET)
    answers: Counter[str] = Counter()
    for client in clients:
        reply = client.recv(4096)
        assert reply.startswith(b"HTTP/1.1 200 "), reply
        assert b"connection: close" not in reply
        answers[reply.rpartition(b"\r\n\r\n")[2].decode().rpartition(" ")[0]] += 1
    return answers


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        client.settimeout(PATIENCE_S)


def own_memory(processes: set[int]) -> int:
    """Bytes that belong to these processes alone."""
    total = 0
    for pid in processes:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1]) * 1024
    return total


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
@pytest.mark.usefixtures("descriptors")
def test_ten_thousand_idle_connections_survive_a_reload_and_are_cheap(
    tmp_path: Path, kind: str, record_property: Any
) -> None:
    write_app(tmp_path, wsgi=kind == "wsgi")
    settings: dict[str, Any] = {"name": "idle", "workers": 2, "timeouts": {"keep_alive": 600}}
    with ExitStack() as stack:
        service = stack.enter_context(running(tmp_path, preexec=raise_descriptor_limit, **settings))
        address = place(service)
        probes = [stack.enter_context(connect(address, number)) for number in range(20)]
        ask_all(probes)
        old = pids(service)
        before = own_memory(old)

        clients: list[socket.socket] = []
        while len(clients) < CONNECTIONS:
            batch = [stack.enter_context(connect(address, number)) for number in range(BATCH)]
            ask_all(batch)
            clients += batch
        per_connection = (own_memory(old) - before) / CONNECTIONS

        write_app(tmp_path, "v2", wsgi=kind == "wsgi")
        began = time.monotonic()
        answer = tell(service, "reload")
        committed = time.monotonic() - began
        assert answer["outcome"]["status"] == "applied", answer
        wait_for(lambda: not state(service)["drains"], HANDOVER_S, what="all is handed over")
        handed_over = time.monotonic() - began

        assert sum(map(is_open, clients)) == CONNECTIONS, "no connection is closed by the server"
        answers = ask_all(clients + probes)
        new = pids(service)
        after = (own_memory(new) - before) / CONNECTIONS
        figures = (
            f"{kind}: {per_connection / 1024:.1f} KiB per idle connection, {after / 1024:.1f} KiB after the handover;"
            f" commit after {committed:.2f} s, all handed over after {handed_over:.2f} s; {dict(answers)}"
        )
        print(figures)
        record_property("idle", figures)
        assert set(answers) == {f"v2 {pid}" for pid in new}, figures
        assert min(answers.values()) > CONNECTIONS / 3, figures
        assert per_connection < LIMIT_BYTES, figures
        assert after < LIMIT_BYTES, figures
        assert handed_over < HANDOVER_S, figures
        assert not any(Path(f"/proc/{pid}").exists() for pid in old), "the old workers are gone"
