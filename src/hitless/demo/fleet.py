"""The image store on several nodes: what an operator has of it on one machine, each node on a loopback address of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.demo.place import example
from hitless.demo.service import ServiceFailed, clean_environ, hitless
from hitless.load import RequestFailed, ask

BACKEND: Final = "images"
NODE_TOML: Final = """\
name = "{name}"
app = "imagefleet.asgi:app"
bind = ["{address}:{port}"]
directory = "current"
state_dir = "state"

[env]
IMAGEFLEET_DATABASE = "{database}"
IMAGEFLEET_CONTENT = "{content}"
IMAGEFLEET_NODE = "{name}"

[health]
path = "/healthz"

[drain]
linger = 1
timeout = 60
"""
ROLLOUT_YAML: Final = """\
service: imagestore
releases:
  "1": {{}}
  "2": {{}}
  "3": {{}}
variables:
  root: {root}
  python: {python}
  install: {install}
nodes:
{nodes}
process:
  kind: serve
  name: "{{node}}"
  hitless: ["{{python}}", -m, hitless]
  environment: {{HITLESS_RUN_DIR: "{{root}}/{{node}}/run", PYTHONDONTWRITEBYTECODE: "1"}}
  upgrade: ["{{python}}", "{{install}}", "{{release}}", "{{root}}/{{node}}"]
  installed: [sh, -c, "basename $(readlink {{root}}/{{node}}/current)"]
  start: [sh, "{start}", "{{root}}/{{node}}"]
health: {{url: "http://{{address}}:{port}/healthz", passes: 2, interval: {interval}}}
version: {{url: "http://{{address}}:{port}/version", key: release}}
balancers:
  front: {{kind: haproxy, instances: [{socket}], backends: [{backend}]}}
database: {{config: "{operator}/releases/{{release}}/hitless-db.toml"}}
soak: {soak}
deadlines: {{drain: {drain}, overall: 3600}}
"""
FLEET: Final = example() / "fleet"
INSTALL: Final = (sys.executable, str(FLEET / "install.py"))
RELEASES: Final = ("1", "2", "3")
START_S: Final = 60.0
END_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    address: str
    port: int
    home: Path

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def log(self) -> Path:
        return self.home / "service.log"


@dataclass(frozen=True, slots=True)
class Timing:
    """What a rollout of the fleet waits for, in seconds."""

    soak: float = 1.0
    interval: float = 0.2
    drain: float = 60.0


class Fleet:
    """Nodes n1, n2 … of one image store in `root`, on one database. Whoever makes a fleet must `close` it."""

    def __init__(self, root: Path, database: str, *, nodes: int = 3, port: int) -> None:
        self.root: Final = root
        self.database: Final = database
        """URL, with its driver."""
        self.operator: Final = root / "operator"
        """Where whoever changes the database has the releases: their migrations come with them."""
        self.content: Final = root / "content"
        self.nodes: Final = tuple(
            Node(f"n{number}", f"127.0.1.{number}", port, root / f"n{number}")
            for number in range(1, nodes + 1)
        )

    async def prepare(self) -> None:
        """Lay release 1 on every node, and all releases at the operator's.

        Raises:
            ServiceFailed: it cannot be.
        """
        self.content.mkdir(exist_ok=True)
        for home in (self.operator, *(node.home for node in self.nodes)):
            home.mkdir(parents=True, exist_ok=True)
            _write(home / "database-url", self.database)
        for node in self.nodes:
            (node.home / "state").mkdir(exist_ok=True)
            self._configure(node)
        for release in RELEASES:
            await ran(*INSTALL, release, str(self.operator))
        await asyncio.gather(*(ran(*INSTALL, RELEASES[0], str(node.home)) for node in self.nodes))

    def settings(self, release: str) -> Path:
        """Of `hitless db` of a release."""
        return self.operator / "releases" / release / "hitless-db.toml"

    async def start(self) -> None:
        """Start every node, and wait until all of them are healthy.

        Raises:
            ServiceFailed: one is not.
        """
        await asyncio.gather(*(self._start(node) for node in self.nodes))

    def write_rollout(self, socket: Path, timing: Timing = Timing()) -> Path:
        """`rollout.yaml` for HAProxy's (or our own balancer's) runtime socket."""
        nodes = "".join(f"  {node.name}: {{address: {node.address}}}\n" for node in self.nodes)
        text = ROLLOUT_YAML.format(
            root=self.root, python=sys.executable, install=FLEET / "install.py", start=FLEET / "start.sh",
            nodes=nodes.rstrip(), port=self.nodes[0].port, socket=socket, backend=BACKEND, operator=self.operator,
            soak=timing.soak, interval=timing.interval, drain=timing.drain,
        )  # fmt: skip
        return _write(self.root / "rollout.yaml", text)

    async def releases(self) -> dict[str, str]:
        """What each node says that it runs."""
        found = {}
        for node in self.nodes:
            found[node.name] = str(json.loads((await ask(f"{node.url}/version")).body)["release"])
        return found

    async def close(self) -> None:
        """End every node, gracefully if it can be."""
        await asyncio.gather(*(self._stop(node) for node in self.nodes))

    def tail(self) -> str:
        """The ends of the nodes' logs, for a message."""
        logs = (node.log for node in self.nodes if node.log.exists())
        return "\n".join(f"{log}:\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def _configure(self, node: Node) -> None:
        filled = NODE_TOML.format(
            name=node.name, address=node.address, port=node.port, database=self.database, content=self.content
        )
        _write(node.home / "hitless.toml", filled)

    async def _start(self, node: Node) -> None:
        await ran("sh", str(FLEET / "start.sh"), str(node.home))
        deadline = time.monotonic() + START_S
        while True:
            try:
                await ask(f"{node.url}/healthz")
                return
            except (RequestFailed, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise ServiceFailed(f"{node.name} does not serve: {error}\n{self.tail()}") from error
                await asyncio.sleep(0.05)

    async def _stop(self, node: Node) -> None:
        with suppress(ServiceFailed):
            await hitless("stop", node.name, "--json", environ=clean_environ(node.home, run="run"))
        deadline = time.monotonic() + END_S
        while left := tuple(processes_of(node.home)):
            if time.monotonic() > deadline:
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.05)


def _write(path: Path, text: str) -> Path:
    """For its owner only: it may hold a password, and what it says is run."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def processes_of(home: Path) -> Iterator[int]:
    """The processes of the node that lives in this folder."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if (folder / "cwd").readlink().is_relative_to(home) or str(home).encode() in (
                    folder / "cmdline"
                ).read_bytes():
                    yield int(folder.name)


async def ran(*command: str) -> str:
    """What a command printed.

    Raises:
        ServiceFailed: it failed.
    """
    # Not by the loop: uvloop leaves copies of the pipe in the child, and what a start action starts would keep it open.
    done = await asyncio.to_thread(
        subprocess.run, command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )  # fmt: skip
    out = done.stdout.decode(errors="replace")
    if done.returncode:
        raise ServiceFailed(f"{' '.join(command)} exited with {done.returncode}: {out}")
    return out
