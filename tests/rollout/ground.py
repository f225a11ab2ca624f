"""A service of a few nodes that are real processes, with a balancer in a file, and the rollout that upgrades it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, inspect, text
from tests.servers.ports import free_port

from hitless.rollout.journal import RolloutRow
from hitless.rollout.reading import read_rollout
from hitless.rollout.report import Report, report
from hitless.rollout.rollouts import Rollouts
from hitless.rollout.timeouts import ORPHANS_S
from hitless.schema import Phases, read_settings
from hitless.schema.database import read_url
from hitless.serve import faults
from schema import imagestore

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
    sessions: {balancer} sessions {{server}}
    poll: 50ms
{balancers}
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
        self.balancer = folder / "balancer"
        self.balancer.mkdir()
        for name in self.nodes:
            (self.balancer / f"status-{name}").write_text("ready\n")
        self.environ = {
            **os.environ,
            "PYTHON": sys.executable,
            "FAKE_NODE": str(HERE / "fake_node.py"),
            "HITLESS_TEST_FAULT": str(folder / "fault"),
        }
        os.environ["PYTHON"], os.environ["FAKE_NODE"] = sys.executable, str(HERE / "fake_node.py")
        for name in self.nodes:
            self.node(name).mkdir()
            (self.node(name) / "release").write_text(release)

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

    def write(
        self, release: str = "2", *, more: str = "", process: str = "", balancers: str = "", **nodes: str
    ) -> Path:
        """The rollout's description."""
        listed = [
            f"  {name}: {{address: {address}, variables: {{folder: {self.node(name)}}}}}"
            for name, address in self.nodes.items()
            if nodes.get(name) != "unlisted"
        ]
        balancer = f"sh {HERE / 'balancer.sh'} {self.balancer}"
        text = PLAIN.format(
            release=release, port=self.port, nodes="\n".join(listed), ctl=HERE / "nodectl.sh", balancer=balancer,
            more=more, process=process, balancers=balancers,
        )  # fmt: skip
        path = self.folder / "rollout.yaml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def with_database(self, url: str, **settings: str) -> str:
        """The image store's migrations, at release 1; returns what the description has to say of it."""
        imagestore.all_releases(self.folder)
        path = self.folder / "hitless-db.toml"
        lines = [
            f'url = "{url}"',
            'service = "images"',
            "[locks]",
            "timeout = 1",
            "pause = 0.05",
            "attempts = 2",
        ]
        path.write_text("\n".join((*lines, *(f"[{name}]\n{text}" for name, text in settings.items()))) + "\n")
        path.chmod(0o644)
        phases = self.phases()
        for release in ("1",):
            phases.expand(release)
        return "database: {config: hitless-db.toml}"

    def phases(self) -> Phases:
        settings = read_settings(self.folder / "hitless-db.toml", {}).settings
        return Phases(settings, self.folder)

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """The rows of the last statement."""
        url = self.phases().settings.url.get_secret_value()
        engine = create_engine(read_url(url), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                found = connection.execute(text(statement))
            return [tuple(row) for row in found] if found.returns_rows else []

    def columns(self) -> set[str]:
        url = self.phases().settings.url.get_secret_value()
        return {column["name"] for column in inspect(create_engine(read_url(url))).get_columns("images")}

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

    def rollouts(self, release: str | None = None, *, orphans_s: float = ORPHANS_S) -> Rollouts:
        """The same within this process."""
        rollout = read_rollout(self.folder / "rollout.yaml", release=release)
        return Rollouts(rollout, self.folder / "state", orphans_s=orphans_s)

    def run(self, release: str | None = None) -> RolloutRow:
        return asyncio.run(self.rollouts(release).run())

    def resume(self) -> RolloutRow:
        return asyncio.run(self.rollouts().resume())

    def roll_back(self) -> RolloutRow:
        return asyncio.run(self.rollouts().rollback())

    def is_at(self, step: str) -> bool:
        """Whether a runner is at this step."""
        if self.last() is None:
            return False
        rows = self.status().steps
        return step in rows and rows[step].state == "running"

    def write_sessions(self, node: str, sessions: list[tuple[str, float]]) -> None:
        """What the balancer says of a node's sessions."""
        rows = [{"client": client, "age_s": age_s} for client, age_s in sessions]
        (self.balancer / f"list-{node}").write_text(json.dumps(rows))

    def last(self) -> RolloutRow | None:
        return next(iter(asyncio.run(self.rollouts().history(1))), None)

    def status(self) -> Report:
        found = asyncio.run(self.rollouts().status())
        assert found is not None
        return report(*found)

    def killed_at(self, verb: str, count: int) -> bool:
        """Run, or resume, in a process that kills itself at the `count`th boundary; whether it came to that. At a boundary no
        command is under way, so nobody has to wait for any to end."""
        self.kill_at(count)
        was_killed = self._is_killed(self._forked(verb, orphans_s=0.0))
        (self.folder / "fault").unlink(missing_ok=True)
        return was_killed

    def killed_after(self, verb: str, seconds: float) -> bool:
        """The same, killed from outside after some time."""
        pid = self._forked(verb)
        time.sleep(seconds)  # the instant is the point
        os.kill(pid, signal.SIGKILL)
        return self._is_killed(pid)

    def _forked(self, verb: str, **options: float) -> int:
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(DEADLINE_S))
            code = 1
            try:
                faults._file = str(self.folder / "fault")  # it reads the environment when it is imported
                asyncio.run(getattr(self.rollouts(**options), verb)())
                code = 0
            finally:
                if code:
                    traceback.print_exc()
                os._exit(code)
        return pid

    def _is_killed(self, pid: int) -> bool:
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        assert os.WEXITSTATUS(status) == 0
        return False

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

    def traffic(self) -> dict[str, str]:
        """The balancer's word for each node."""
        return {name: (self.balancer / f"status-{name}").read_text().strip() for name in self.nodes}

    def told_balancer(self) -> list[str]:
        return (self.balancer / "log").read_text().splitlines()

    def releases(self) -> dict[str, str | None]:
        """What runs on each node, by its own last start, and None where nothing runs."""
        return {
            name: (self.node(name) / "starts").read_text().split()[-1] if self.pid(name) is not None else None
            for name in self.nodes
        }

    def actions(self, name: str) -> list[str]:
        return (self.node(name) / "actions").read_text().splitlines()
