"""A private ZooKeeper on a free port of 127.0.0.1, in a temporary folder."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.servers.account import tool
from tests.servers.ports import free_port

START_S = 120.0
TICK_MS = 250
"""Sessions last between 2 and 20 of these."""
JARS = "/usr/share/java"
PARTS = "zookeeper zookeeper-jute log4j-1.2 slf4j-api slf4j-log4j12 netty-all netty-buffer netty-codec netty-common"
MORE = (
    "netty-handler netty-resolver netty-transport commons-lang3 commons-cli jline2 snappy-java metrics-core"
)


@contextmanager
def running_zookeeper() -> Iterator[int]:
    """Its port; it answers, and is ended at the end."""
    java = tool("java", "default-jre-headless")
    jars = [Path(JARS, f"{name}.jar") for name in f"{PARTS} {MORE}".split()]
    if not jars[0].exists():
        raise FileNotFoundError("ZooKeeper is missing; install it with: sudo apt-get install zookeeper")
    with tempfile.TemporaryDirectory(prefix="hitless-zookeeper-") as path:
        folder, port = Path(path), free_port()
        (folder / "zoo.cfg").write_text(
            f"tickTime={TICK_MS}\ndataDir={folder}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
            "admin.enableServer=false\n4lw.commands.whitelist=ruok\n"
        )
        classes = ":".join(str(each) for each in jars if each.exists())
        command = [java, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes]
        command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(folder / "zoo.cfg")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            _wait(port, process, folder / "log")
            yield port
        finally:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"ruok")
                if connection.recv(4) == b"imok":
                    return
        except OSError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.fixture(scope="session")
def zookeeper_server() -> Iterator[int]:
    with running_zookeeper() as port:
        yield port
