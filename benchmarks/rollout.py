"""What the runner itself costs when a fleet is rolled out: CPU time, wall time and memory, for 10, 50 and 200 nodes in batches of a
tenth.

Each node is a real process that is stopped, waited for until it is gone, and started by commands through the local executor;
one program answers their probes, and the balancer is a command. Every node is drained, stopped, upgraded, started, probed
twice, made ready and watched for 100 ms. CPU time is the runner's own, with its start and without the commands; memory is
the most that it had. Beside it an Ansible playbook runs the same commands with `serial: 10%` on the same nodes: it measures
nothing between them, keeps no journal and has no balancer.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.ports import free_port

from benchmarks.options import Options
from benchmarks.results import Results, Row

NAME = "rollout"
NODES = (10, 50, 200)
ROUNDS = 3
APPS = Path(__file__).parent / "apps"
CPU_MS_PER_NODE = 250.0
MEMORY_MIB = 200.0
PATIENCE_S = 900.0
DESCRIPTION = """\
service: fleet
releases: {{"1": {{}}, "2": {{}}}}
variables: {{port: "{port}"}}
nodes:
{nodes}
process:
  kind: commands
  stop: sh {apps}/fleet.sh {folder}/{{address}} stop
  gone: sh {apps}/fleet.sh {folder}/{{address}} gone
  upgrade: sh {apps}/fleet.sh {folder}/{{address}} upgrade {{release}}
  installed: sh {apps}/fleet.sh {folder}/{{address}} installed
  start: sh {apps}/fleet.sh {folder}/{{address}} start
health: {{url: "http://{{address}}:{{port}}/", passes: 2, interval: 50ms}}
version: {{url: "http://{{address}}:{{port}}/"}}
balancers:
  front:
    kind: command
    state: cat {folder}/balancer.json
    drain: sh {folder}/set.sh {{server}} drain false
    ready: sh {folder}/set.sh {{server}} ready true
    maint: sh {folder}/set.sh {{server}} maint false
    poll: 50ms
batch: 10%
soak: 100ms
"""
SET = """\
cd {folder} && exec 9>lock && flock 9
sed "s/\\"$1\\":{{\\"status\\":\\"[a-z]*\\",\\"up\\":[a-z]*/\\"$1\\":{{\\"status\\":\\"$2\\",\\"up\\":$3/" balancer.json > new
mv new balancer.json
"""
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  serial: 10%
  tasks:
    - command: sh {apps}/fleet.sh {folder}/{{{{ address }}}} stop
    - command: sh {apps}/fleet.sh {folder}/{{{{ address }}}} gone
      register: gone
      until: gone.rc == 0
      retries: 50
      delay: 1
    - command: sh {apps}/fleet.sh {folder}/{{{{ address }}}} upgrade 2
    - command: sh {apps}/fleet.sh {folder}/{{{{ address }}}} start
"""


@dataclass(frozen=True, slots=True)
class Figures:
    wall_s: float
    cpu_s: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Fleet:
    folder: Path
    addresses: Sequence[str]

    def set_back(self) -> None:
        """Every node on release 1 again, with traffic."""
        for address in self.addresses:
            for action in ("stop", "upgrade 1", "start"):
                if action == "start":
                    self._until_gone(address)
                self._control(address, *action.split())

    def releases(self) -> set[str]:
        return {(self.folder / address / "running").read_text().strip() for address in self.addresses}

    def end(self) -> None:
        for address in self.addresses:
            with suppress(OSError, ValueError):
                os.kill(int((self.folder / address / "pid").read_text()), signal.SIGKILL)

    def _control(self, address: str, *words: str) -> int:
        command = ["sh", str(APPS / "fleet.sh"), str(self.folder / address), *words]
        return subprocess.run(command, check=False).returncode

    def _until_gone(self, address: str) -> None:
        while self._control(address, "gone"):
            time.sleep(0.01)


async def measure(options: Options) -> Results:
    found: dict[tuple[str, int], list[Figures]] = {}
    for count in NODES:
        with _fleet(count) as fleet:
            for number in range(ROUNDS):
                for name, command in _subjects(fleet).items():
                    fleet.set_back()
                    figures = _run(command)
                    assert fleet.releases() == {"2"}, f"{name} did not bring every node to the release"
                    found.setdefault((name, count), []).append(figures)
                    options.note(f"{NAME}: {count} nodes, round {number + 1}, {name}: {figures}")
    rows = [_row(name, count, each) for (name, count), each in found.items()]
    most = _middle(found["hitless", NODES[-1]])
    missed = []
    if most.cpu_s * 1000 / NODES[-1] > CPU_MS_PER_NODE:
        missed.append(f"at most {CPU_MS_PER_NODE:g} ms of CPU per node")
    if most.memory_mib > MEMORY_MIB:
        missed.append(f"at most {MEMORY_MIB:g} MiB for {NODES[-1]} nodes")
    details = {f"{name}, {count}": [_plain(one) for one in each] for (name, count), each in found.items()}
    return Results(NAME, __doc__ or "", {f"medians of {ROUNDS} rounds": rows}, (), details, missed)


def _subjects(fleet: Fleet) -> dict[str, list[str]]:
    state = fleet.folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    where = ["--file", str(fleet.folder / "rollout.yaml"), "--state-dir", str(state)]
    ansible = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    subjects = {"hitless": [sys.executable, "-m", "hitless", "rollout", "run", "--json", *where]}
    if ansible is not None and len(fleet.addresses) <= 50:
        inventory = str(fleet.folder / "hosts")
        subjects["ansible-playbook"] = [
            ansible,
            "-f",
            "20",
            "-i",
            inventory,
            str(fleet.folder / "playbook.yaml"),
        ]
    return subjects


def _run(command: Sequence[str]) -> Figures:
    """Figures of one process: of hitless its own CPU time, of ansible that of all its processes, which are its workers."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} exited with {process.returncode}: {said.decode()[-2000:]}")
    return Figures(time.monotonic() - began, _own_cpu_s(said, usage), usage.ru_maxrss / 1024)


def _own_cpu_s(said: bytes, usage: resource.struct_rusage) -> float:
    """wait4 counts the commands that were run in; hitless tells its own."""
    with suppress(ValueError, KeyError, TypeError):
        return float(json.loads(said)["cpu_s"])
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _fleet(count: int) -> Iterator[Fleet]:
    with tempfile.TemporaryDirectory(prefix="hitless-bench-", dir="/tmp") as path:
        folder, port = Path(path), free_port()
        addresses = [f"127.1.{number // 200}.{number % 200 + 1}" for number in range(count)]
        fleet = Fleet(folder, addresses)
        _write(fleet, port)
        command = [sys.executable, str(APPS / "fleet.py"), str(folder), str(port), *addresses]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as answers:
            assert answers.stdout is not None
            answers.stdout.readline()
            try:
                yield fleet
            finally:
                answers.terminate()
                fleet.end()


def _write(fleet: Fleet, port: int) -> None:
    folder = fleet.folder
    for address in fleet.addresses:
        (folder / address).mkdir()
    fill = {"apps": APPS, "folder": folder, "port": port}
    nodes = "\n".join(f"  n{number}: {{address: {each}}}" for number, each in enumerate(fleet.addresses))
    (folder / "rollout.yaml").write_text(DESCRIPTION.format(nodes=nodes, **fill))
    (folder / "set.sh").write_text(SET.format(**fill))
    up = {"status": "ready", "up": True, "sessions": 0}
    servers = {f"n{number}": up for number in range(len(fleet.addresses))}
    (folder / "balancer.json").write_text(json.dumps(servers, separators=(",", ":")))
    (folder / "playbook.yaml").write_text(PLAYBOOK.format(**fill))
    hosts = [
        f"n{number} ansible_connection=local address={each}" for number, each in enumerate(fleet.addresses)
    ]
    python = f"[all:vars]\nansible_python_interpreter={sys.executable}"
    (folder / "hosts").write_text("\n".join((*hosts, python)) + "\n")


def _middle(figures: Sequence[Figures]) -> Figures:
    return sorted(figures, key=lambda each: each.wall_s)[len(figures) // 2]


def _plain(figures: Figures) -> dict[str, float]:
    return {"wall_s": figures.wall_s, "cpu_s": figures.cpu_s, "memory_mib": figures.memory_mib}


def _row(name: str, count: int, figures: Sequence[Figures]) -> Row:
    middle = _middle(figures)
    walls = [each.wall_s for each in figures]
    return {
        "runner": name,
        "nodes": count,
        "wall s": f"{middle.wall_s:.1f}",
        "from – to": f"{min(walls):.1f} – {max(walls):.1f}",
        "wall ms per node": f"{middle.wall_s * 1000 / count:.0f}",
        "CPU ms per node": f"{middle.cpu_s * 1000 / count:.0f}",
        "memory MiB": f"{middle.memory_mib:.0f}",
    }
