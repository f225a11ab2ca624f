"""A private RabbitMQ server on a free port of 127.0.0.1, with an Erlang port mapper of its own, in a temporary folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.account import as_account, give, tool
from tests.servers.ports import free_port

ACCOUNT = "rabbitmq"
SERVER = "/usr/lib/rabbitmq/bin"
START_S = 180.0
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class RabbitMQ:
    port: int
    folder: Path
    pid: int
    environ: Mapping[str, str]

    def control(self, *command: str) -> None:
        """As `rabbitmqctl` does: `close_all_connections`, `stop_app`, `start_app`."""
        subprocess.run(
            [*as_account(ACCOUNT), f"{SERVER}/rabbitmqctl", *command],
            env=dict(self.environ),
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=START_S,
        )

    def url(self, vhost: str = "/") -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"


@contextmanager
def running_rabbitmq(*plugins: str) -> Iterator[RabbitMQ]:
    """Started, answering, and stopped at the end; with these of the plug-ins that come with it."""
    server, epmd = tool("rabbitmq-server", "rabbitmq-server", SERVER), tool("epmd", "erlang-base")
    if Path(SERVER, "rabbitmq-server").exists():
        server = f"{SERVER}/rabbitmq-server"  # the one on the path changes the account by itself, and with it the environment
    with tempfile.TemporaryDirectory(prefix="hitless-mq-", dir="/tmp") as path:
        folder = Path(path)
        folder.chmod(0o755)
        give(folder, ACCOUNT)
        (folder / "plugins").write_text(f"[{','.join(plugins)}].\n")
        (folder / "plugins").chmod(0o644)
        ports = free_port(), free_port(), free_port()
        environ, run = _environ(folder, *ports), as_account(ACCOUNT)
        with (
            (folder / "log").open("wb") as log,
            _ended(subprocess.Popen([*run, epmd], env=environ, cwd=folder, stdout=log, stderr=log)),
        ):
            process = subprocess.Popen(
                [*run, server], env=environ, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            with _ended(process):
                _wait(ports[0], process, folder / "log")
                yield RabbitMQ(ports[0], folder, process.pid, environ)


def _environ(folder: Path, port: int, distribution: int, mapper: int) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"hitless-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_BASE": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "no.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        # No threads that spin while they wait for work, and no port mapper that stays when all is over.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false +sbwt none +sbwtdcpu none +sbwtdio none"
        " -kernel inet_dist_use_interface {127,0,0,1}",
    }


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers the greeting of AMQP 0-9-1; the port alone says nothing."""
    deadline = time.monotonic() + START_S
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"rabbitmq did not start: {log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)  # it has no event to wait for


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"AMQP\0\0\x09\x01")
        return bool(connection.recv(1))
    return False
