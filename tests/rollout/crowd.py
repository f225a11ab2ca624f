"""Many nodes that are real processes, behind a real HAProxy, and what a rollout of them costs the runner.

`python -m tests.rollout.crowd FILE STATE` carries out a rollout and prints its cost as JSON; in a process of its own, so that
nothing else is counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.haproxy import HAProxyServer, running_haproxy, web
from tests.servers.ports import free_port

from hitless.rollout.reading import read_rollout
from hitless.rollout.rollouts import Rollouts

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUN_S = 1500.0
DESCRIPTION = """
service: crowd
releases: {{"1": {{}}, "2": {{}}}}
release: "2"
batch: {batch}
variables: {{port: "{port}"}}
nodes:
{nodes}
process:
  kind: commands
  stop: sh {ctl} {{folder}} {{address}} {{port}} stop
  gone: sh {ctl} {{folder}} {{address}} {{port}} gone
  upgrade: sh {ctl} {{folder}} {{address}} {{port}} upgrade {{release}}
  start: sh {ctl} {{folder}} {{address}} {{port}} start
health: {{url: "http://{{address}}:{{port}}/health", passes: 1, interval: 20ms, ask: 60s}}
version: {{url: "http://{{address}}:{{port}}/version", key: release}}
executor: {{kind: local}}
balancers:
  front: {{kind: haproxy, instances: ["{socket}"], poll: 20ms, answer: 60s}}
soak: 10ms
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one rollout, for its runner; of what its commands do, only `commands_cpu_s` tells."""

    status: str
    wall_s: float
    cpu_s: float
    commands_cpu_s: float
    memory_before_kib: int
    memory_kib: int
    """The peak."""


@dataclass(frozen=True, slots=True)
class Crowd:
    folder: Path
    port: int
    addresses: dict[str, str]
    haproxy: HAProxyServer

    def release(self, name: str) -> str:
        """What its process was started with last."""
        return (self.folder / name / "starts").read_text().split()[-1]

    def write(self, *, batch: int) -> Path:
        nodes = "\n".join(
            f"  {name}: {{address: {address}, variables: {{folder: {self.folder / name}}}}}"
            for name, address in self.addresses.items()
        )
        path = self.folder / "rollout.yaml"
        path.write_text(
            DESCRIPTION.format(
                batch=batch, port=self.port, nodes=nodes, ctl=HERE / "nodectl.sh", socket=self.haproxy.socket
            )
        )
        path.chmod(0o644)
        return path

    def run(self, *, batch: int) -> Cost:
        """Every node to release 2, so many at once."""
        path = self.write(batch=batch)
        words = [sys.executable, "-m", "tests.rollout.crowd", str(path), str(self.folder / "state")]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=RUN_S, check=False, cwd=ROOT, env=_environ()
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-4000:])
        return Cost(**json.loads(done.stdout.splitlines()[-1]))

    def by_hand(self) -> float:
        """Seconds that the same commands take one node, one after the other, without anything around them."""
        name, address = next(iter(self.addresses.items()))
        began = time.monotonic()
        for action in (("stop",), ("gone",), ("upgrade", "1"), ("start",)):
            self.control(name, address, *action)
        return time.monotonic() - began

    def control(self, name: str, address: str, *action: str) -> None:
        words = ["sh", str(HERE / "nodectl.sh"), str(self.folder / name), address, str(self.port), *action]
        while subprocess.run(words, env=_environ(), check=False, timeout=120, capture_output=True).returncode:
            pass  # `gone` says 1 until it is

    def start(self) -> None:
        for name in self.addresses:
            (self.folder / name).mkdir()
            (self.folder / name / "release").write_text("1")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: self.control(*item, "start"), self.addresses.items()))

    def end(self) -> None:
        for name in self.addresses:
            path = self.folder / name / "pid"
            pid = int(path.read_text()) if path.exists() and path.read_text() else 0
            if pid and b"fake_node" in _command_line(pid):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running_crowd(folder: Path, count: int) -> Iterator[Crowd]:
    """Nodes that serve, all with traffic; ended at the end."""
    addresses = {f"n{each}": f"127.0.{each // 250 + 1}.{each % 250 + 1}" for each in range(count)}
    port = free_port()
    with running_haproxy(
        web([(name, f"{address}:{port}") for name, address in addresses.items()])
    ) as haproxy:
        crowd = Crowd(folder, port, addresses, haproxy)
        try:
            crowd.start()
            yield crowd
        finally:
            crowd.end()


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHON": sys.executable, "FAKE_NODE": str(HERE / "fake_node.py")}


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _main(file: Path, state: Path) -> None:
    rollouts = Rollouts(read_rollout(file), state)
    before, began, cpu = resource.getrusage(resource.RUSAGE_SELF), time.monotonic(), time.process_time()
    row = asyncio.run(rollouts.run())
    wall, used = time.monotonic() - began, time.process_time() - cpu
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cost = {
        "status": str(row.status),
        "wall_s": wall,
        "cpu_s": used,
        "commands_cpu_s": children.ru_utime + children.ru_stime,
        "memory_before_kib": before.ru_maxrss,
        "memory_kib": peak,
    }
    print(json.dumps(cost))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
