"""A group of real agent processes, what a test does to them, and what they have done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hitless.agent.definition import PollingSource
from hitless.agent.group.document import Document
from hitless.agent.group.epochs import Proposal, look, propose_epoch
from hitless.agent.group.options import GroupSettings
from hitless.agent.group.state import GroupState
from hitless.demo.group_audit import Absence, Findings, Shares, assignments, audit, diary, lapses, samples

DEADLINE_S = 120.0
POINTS = """[hitless.pollster]
count.one = group_plugins:one
[hitless.publisher]
odd = group_plugins:Odd
"""


class Cable:
    """A TCP connection from one agent to the store that can be cut: nothing goes through, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_cut = False
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._pairs.append(near)
                if self.is_cut:
                    continue  # held open, and never answered
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                self._pairs.append(far)
                for one, two in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, two), daemon=True).start()

    def _carry(self, one: socket.socket, two: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if self.is_cut:
                    return
                two.sendall(data)
            two.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()
        for each in self._pairs:
            each.close()


class Field:
    def __init__(self, folder: Path, *, url: str = "", port: int | None = None, **settings: Any) -> None:
        """`port`: of the store, to which each agent then has a cable of its own in the place of `PORT` in `url`."""
        self.folder = folder
        self.url = url or f"file://{folder}/groups"
        self._port = port
        self.cables: dict[str, Cable] = {}
        self.settings = {"name": "g", "lease": 2.0, "look": 0.1, "lead": 0.6, "prepare": 30.0, **settings}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[int, float] = {}
        self.absences: list[Absence] = []
        self.sources: dict[str, dict[str, PollingSource]] = {}
        self.epochs = 0
        site = folder / "site" / "group_plugins-1.0.dist-info"
        site.mkdir(parents=True)
        (site / "METADATA").write_text("Metadata-Version: 2.1\nName: group_plugins\nVersion: 1.0\n")
        (site / "entry_points.txt").write_text(POINTS)
        shutil.copy(Path(__file__).with_name("plugins.py"), folder / "site" / "group_plugins.py")

    # What the group polls by

    def write(
        self, resources: Sequence[str] = (), *, interval: int = 2, sink: str = "", jitter: float = 0.0
    ) -> list[str]:
        """The files of the next configuration: one source, named by it, whose samples go into a file per process."""
        self.epochs += 1
        name = f"e{self.epochs}"
        place = self.folder / "files" / name
        place.mkdir(parents=True)
        source = {"name": name, "interval": interval, "jitter": jitter, "meters": ["count.one"]}
        publishers = [f"file://{self.folder}/samples.jsonl"] + ([sink] if sink else [])
        files = {
            "polling.yaml": {"sources": [{**source, "resources": list(resources)}]},
            "pipeline.yaml": {
                "sources": [{"name": "all", "meters": ["*"], "sinks": ["archive"]}],
                "sinks": [{"name": "archive", "publishers": publishers, "buffer": 50_000}],
            },
        }
        for file, content in files.items():
            (place / file).write_text(json.dumps(content))
            (place / file).chmod(0o600)
        paths = [str(place / file) for file in files]
        polled = PollingSource(
            interval=interval, meters=("count.one",), resources=tuple(resources), jitter=jitter
        )
        document = Document(tuple((Path(path).name, Path(path).read_text()) for path in paths))
        self.sources[document.hash] = {name: polled}
        return paths

    def propose(self, paths: Sequence[str], **settings: Any) -> Proposal:
        document = Document(tuple((Path(path).name, Path(path).read_text()) for path in paths))
        return propose_epoch(self.group(**settings), document, by="the test", timeout_s=DEADLINE_S)

    # Agents

    def start(self, name: str, *, fault: str = "", options: Sequence[str] = ("--unsupervised",)) -> None:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        settings = {**self.settings, "url": self._url(name), "member": name}
        group = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
        files = sorted(map(str, (self.folder / "files" / "e1").iterdir()))
        (home / "agent.toml").write_text(
            f'name = "{name}"\nfiles = {json.dumps(files)}\nstate_dir = "{home}/state"\n[group]\n{group}\n'
        )
        (home / "agent.toml").chmod(0o600)
        (home / "fault").write_text(fault)
        env = {
            **os.environ,
            "HITLESS_RUN_DIR": str(self.folder / "r"),
            "PYTHONPATH": str(self.folder / "site"),
            "GROUP_MEMBER": name,
            "HITLESS_TEST_FAULT": str(home / "fault"),
        }
        command = [sys.executable, "-m", "hitless", "agent", "run", *options]
        with (home / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=home, env=env, stdout=log, stderr=log)
        self.processes[name] = process
        threading.Thread(target=self._note_end, args=(process,), daemon=True).start()

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ChildProcessError):  # somebody has waited for it already
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self._ended[process.pid] = time.time()

    def _url(self, name: str) -> str:
        if self._port is None:
            return self.url
        if name not in self.cables:
            self.cables[name] = Cable(self._port)
        return self.url.replace("PORT", str(self.cables[name].port))

    def group(self, **settings: Any) -> GroupSettings:
        url = self.url if self._port is None else self.url.replace("PORT", str(self._port))
        return GroupSettings(**{**self.settings, **settings, "url": url})

    def state(self) -> GroupState:
        return look(self.group())

    def fault(self, name: str, point: str) -> None:
        """It is killed when it reaches the point next."""
        (self.folder / name / "fault").write_text(f"kill {point} 1")

    def stop(self, name: str) -> None:
        """In good order."""
        process = self.processes.pop(name)
        process.terminate()
        assert process.wait(DEADLINE_S) == 0, self.log(name)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        self.gone(name)
        process.kill()
        process.wait()

    def has_died(self, name: str) -> None:
        """Wait for it: a fault kills it."""
        process = self.processes.pop(name)
        deadline = time.monotonic() + DEADLINE_S
        while process.pid not in self._ended:
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.02)
        assert process.wait() == -signal.SIGKILL, self.log(name)
        self.absences.append(Absence(name, self._ended[process.pid]))

    def gone(self, name: str) -> None:
        self.absences.append(Absence(name, time.time()))

    def cut(self, name: str) -> None:
        self.gone(name)
        self.cables[name].is_cut = True

    def restore(self, name: str) -> None:
        self.cables[name].is_cut = False

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for cable in self.cables.values():
            cable.close()

    # What it looks like

    def polls_with(self, *names: str) -> GroupState:
        """Wait until exactly these share the work, by the latest configuration, and nothing is under way."""

        def settled(state: GroupState) -> bool:
            polling = {each.name for each in state.members if each.role == "polling" and not each.drifts}
            return polling == set(names) and not state.missing and not state.under_way

        return self.until(settled, f"{names} share the work")

    def until(self, condition: Callable[[GroupState], bool], what: str) -> GroupState:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            state = self.state()
            if condition(state):
                return state
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} has ended: {self.log(name)}"
            assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}; {state}"
            time.sleep(0.05)

    def ticks(self, number: int, interval_s: float = 2.0) -> None:
        """Let so many ticks pass."""
        time.sleep(number * interval_s)

    def log(self, name: str) -> str:
        return (self.folder / name / "log").read_text()[-5000:]

    def names(self) -> list[str]:
        return [each.parent.parent.name for each in self.folder.glob("*/state/group.jsonl")]

    def notes(self) -> list[list[Any]]:
        return [[*diary(self.folder / name / "state" / "group.jsonl")] for name in self.names()]

    def audit(self, *, until: float) -> tuple[Findings, list[Shares]]:
        findings = Findings()
        shares = assignments(self.notes(), findings)
        polls = samples([self.folder / "samples.jsonl"])
        absences = [*self.absences, *lapses(self.notes())]
        audit(polls, shares, self.sources, absences=absences, until=until, findings=findings)
        return findings, shares
