"""A service of a few nodes that are real processes, with a balancer in a file, and the rollout that upgrades it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.ports import free_port

HERE = Path(__file__).parent
DEADLINE_S = 60.0
PLAIN = """
service: images
releases:
  "1": {{}}
  "2": {{}}
  "3": {{}}
release: "{release}"
variables: {{port: "{port}"}}
nodes:
{nodes}
process:
  kind: commands
  stop: sh {ctl} {{folder}} {{address}} {{port}} stop
  gone: sh {ctl} {{folder}} {{address}} {{port}} gone
  upgrade: sh {ctl} {{folder}} {{address}} {{port}} upgrade {{release}}
  installed: sh {ctl} {{folder}} {{address}} {{port}} installed
  start: sh {ctl} {{folder}} {{address}} {{port}} start
{process}
health: {{url: "http://{{address}}:{{port}}/health", passes: 2, interval: 50ms}}
version: {{url: "http://{{address}}:{{port}}/version", key: release}}
balancers:
  front:
    kind: command
    state: {balancer} state
    drain: {balancer} drain {{server}}
    ready: {balancer} ready {{server}}
    maint: {balancer} maint {{server}}
    poll: 50ms
soak: 100ms
{more}
"""


class Ground:
    """Nodes n1, n2, ... on 127.0.x.y, all of one release and with traffic."""

    def __init__(self, folder: Path, nodes: int = 3, release: str = "1") -> None:
        self.folder = folder
        self.port = free_port()
        self.nodes = {
            f"n{number}": f"127.0.{number // 250 + 1}.{number % 250 + 1}" for number in range(1, nodes + 1)
        }
        self.balancer = folder / "balancer.json"
        self.balancer.write_text(json.dumps({name: self._up() for name in self.nodes}))
        self.environ = {
            **os.environ,
            "PYTHON": sys.executable,
            "FAKE_NODE": str(HERE / "fake_node.py"),
            "HITLESS_TEST_FAULT": str(folder / "fault"),
        }
        for name in self.nodes:
            self.node(name).mkdir()
            (self.node(name) / "release").write_text(release)

    @staticmethod
    def _up() -> dict[str, Any]:
        return {"status": "ready", "up": True, "sessions": 0, "queued": 0}

    def start(self) -> None:
        for name in self.nodes:
            self.control(name, "start")

    def end(self) -> None:
        """End what runs, whatever became of it."""
        for name in self.nodes:
            pid = self.pid(name)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

    def node(self, name: str) -> Path:
        return self.folder / name

    def control(self, name: str, action: str, *more: str) -> None:
        """What an operator would do by hand."""
        words = [
            "sh",
            str(HERE / "nodectl.sh"),
            str(self.node(name)),
            self.nodes[name],
            str(self.port),
            action,
            *more,
        ]
        subprocess.run(words, env=self.environ, check=True, timeout=DEADLINE_S)

    def pid(self, name: str) -> int | None:
        try:
            pid = int((self.node(name) / "pid").read_text())
            return pid if "fake_node.py" in Path(f"/proc/{pid}/cmdline").read_text() else None
        except (OSError, ValueError):
            return None

    def write(self, release: str = "2", *, more: str = "", process: str = "", **nodes: str) -> Path:
        """The rollout's description."""
        listed = [
            f"  {name}: {{address: {address}, variables: {{folder: {self.node(name)}}}}}"
            for name, address in self.nodes.items()
            if nodes.get(name) != "unlisted"
        ]
        balancer = f"{sys.executable} -S -E {HERE / 'fake_balancer.py'} {self.balancer}"
        text = PLAIN.format(
            release=release, port=self.port, nodes="\n".join(listed), ctl=HERE / "nodectl.sh", balancer=balancer,
            more=more, process=process,
        )  # fmt: skip
        path = self.folder / "rollout.yaml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def command(self, *words: str) -> list[str]:
        verb, *rest = words
        where = ["--file", str(self.folder / "rollout.yaml"), "--state-dir", str(self.folder / "state")]
        return [sys.executable, "-m", "hitless", "rollout", verb, *where, *rest]

    def hitless(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            self.command(*words),
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def json(self, *words: str) -> Any:
        done = self.hitless(*words, "--json")
        return json.loads(done.stdout)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words), env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def kill_at(self, count: int, point: str = "rollout.boundary") -> None:
        """Have the next runner kill itself at the `count`th passing of a point."""
        (self.folder / "fault").write_text(f"kill {point} {count}")

    @property
    def was_killed(self) -> bool:
        return not (self.folder / "fault").exists()

    def traffic(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = json.loads(self.balancer.read_text())
        return found

    def releases(self) -> dict[str, str | None]:
        """What runs on each node, by its own last start, and None where nothing runs."""
        return {
            name: (self.node(name) / "starts").read_text().split()[-1] if self.pid(name) is not None else None
            for name in self.nodes
        }

    def actions(self, name: str) -> list[str]:
        return (self.node(name) / "actions").read_text().splitlines()
