"""A private RabbitMQ: a node, ports, directories and a name service of its own; one for the whole session."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.ports import free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Not the one in PATH: that one becomes the user rabbitmq, which may not write where the tests are."""
START_S = 240.0


@dataclass(frozen=True, slots=True)
class RabbitMQ:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    if not SERVER.exists() or shutil.which("epmd") is None:
        pytest.fail("RabbitMQ is missing; run: apt-get install rabbitmq-server")
    folder = Path(tempfile.mkdtemp(prefix="hitless-rabbitmq-"))
    port, distribution, names = free_port(), free_port(), free_port()
    started: list[subprocess.Popen[bytes]] = []
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"hitless-{os.getpid()}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +S 1:1",
    }
    log = (folder / "output").open("wb")
    try:
        # A name service of ours, in the foreground: one that Erlang starts by itself is left behind.
        for command in (["epmd", "-port", str(names)], [str(SERVER)]):
            started.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            )
        _wait(port, started[-1], folder)
        yield RabbitMQ(port, started[-1])
    finally:
        for process in reversed(started):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    """Until it greets: the port is open before the broker is ready."""
    deadline = time.monotonic() + START_S
    while True:
        assert server.poll() is None, (folder / "output").read_text()
        assert time.monotonic() < deadline, (folder / "output").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5.0) as peer:
            peer.sendall(b"AMQP\x00\x00\x09\x01")
            if peer.recv(1) == b"\x01":  # Connection.Start
                return
        time.sleep(0.1)
