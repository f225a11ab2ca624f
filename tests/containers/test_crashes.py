"""kill -9 of `hitless` at every step of a replacement or a restart: the next run finishes or undoes it, and there is exactly one
container of the name, and it runs."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.containers.engines import KINDS, Kind, PrivateEngine, busybox_tree, private
from tests.containers.hitless_cli import COMMAND_S, Operator

from hitless.containers import Opening, opened, recorded

pytestmark = [pytest.mark.root, pytest.mark.timeout(1800)]

SERVES = "trap 'sleep 0.5; exit 0' TERM; echo serving; while :; do sleep 0.1; done"
WAYS = {
    # Who died between the note and the signal has a container that never ends: it is waited for as long as this.
    "recreate": ("recreate", "--settle", "0.3s", "--wait", "10s"),
    "upgrade, new first": ("upgrade", "--image", "crash:two", "--force", "--new-first", "--settle", "0.3s"),
    "upgrade that fails": ("upgrade", "--image", "crash:broken", "--settle", "2s"),
    "restart": ("restart", "--settle", "0.3s"),
}
SOME = (4, 5, 7)
"""Steps of a recreation that the default run dies after: signals are about to be sent, one was sent, the names are swapped."""


@dataclass
class Subject:
    """One service that is to be there, whatever happens."""

    operator: Operator
    name: str
    policy: str
    said: list[str] = field(default_factory=list)

    @property
    def engine(self) -> PrivateEngine:
        return self.operator.engine

    def dies(self, step: int, when: str, way: str) -> bool:
        """Whether the command came as far as that step, and died there."""
        verb, *more = WAYS[way]
        words = self.operator.words(verb, self.name, *more)
        program = [sys.executable, "-m", "tests.containers.dies", str(step), when, *words[3:]]
        done = subprocess.run(
            program, capture_output=True, timeout=COMMAND_S, env=self.operator.environ, check=False
        )
        return done.returncode == -signal.SIGKILL

    def recovered(self) -> None:
        """What the next run does before anything else."""

        async def run() -> None:
            opening = Opening(self.engine.address, state_dir=self.operator.folder / "state")
            async with opened(opening, tell=self.said.append):
                pass

        self.said.clear()
        asyncio.run(run())

    def is_there_once(self, where: str) -> None:
        rows = self.engine.get("/containers/json", all="true").json()
        names = [row["Names"][0].removeprefix("/") for row in rows if self.name in row["Names"][0]]
        assert names == [self.name], (where, names, self.said)
        assert self.engine.state(self.name) == "running", (where, self.said)
        found = self.engine.inspect(self.name)["HostConfig"]["RestartPolicy"]["Name"] or "no"
        assert found == self.policy, (where, self.said)
        assert list((self.operator.folder / "state").glob("*.json")) == [], where


@pytest.fixture
def subject(
    request: pytest.FixtureRequest, engine: PrivateEngine, name: str, tmp_path: Path
) -> Iterator[Subject]:
    for tag, command in (("one", SERVES), ("two", SERVES), ("broken", "exit 9")):
        if f"crash:{tag}" not in engine.cli("images", "--format", "{{.Repository}}:{{.Tag}}"):
            engine.load(f"crash:{tag}", busybox_tree(), f'CMD ["sh", "-c", "{command}"]')
    policy = getattr(request, "param", "no")
    engine.run(name, image="crash:one", options=("--restart", policy))
    engine.await_log(name, "serving")
    yield Subject(Operator(engine, tmp_path), name, policy)
    engine.remove(name, f"{name}.hitless-new", f"{name}.hitless-old")


def killed_at(subject: Subject, way: str, steps: Sequence[tuple[int, str]]) -> int:
    """Die at each of the steps, and look after each; how many of them there were."""
    for count, (step, when) in enumerate(steps):
        if not subject.dies(step, when, way):
            return count
        subject.recovered()
        subject.is_there_once(f"{when} step {step} of {way}: {subject.said}")
    return len(steps)


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_a_recreation_that_is_killed_where_it_hurts_leaves_one_container_that_runs(subject: Subject) -> None:
    assert killed_at(subject, "recreate", [(step, "after") for step in SOME]) == len(SOME)
    rows = recorded(subject.operator.folder / "state")
    assert {(row.verb, row.container, row.outcome) for row in rows} == {
        ("recreate", subject.name, "interrupted")
    }


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("subject", ["no", "always"], indirect=True)
@pytest.mark.parametrize("engine", KINDS, indirect=True)
def test_killed_at_every_step_there_is_one_container_that_runs(subject: Subject, way: str) -> None:
    every = [(step, when) for step in range(1, 40) for when in ("before", "after")]
    count = killed_at(subject, way, every)
    print(f"{subject.engine.kind}, {way}, policy {subject.policy}: died at {count} places")
    assert 8 <= count < len(every)


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("engine", KINDS, indirect=True)
def test_killed_at_any_instant_there_is_one_container_that_runs(subject: Subject, way: str) -> None:
    chance = random.Random(way)
    verb, *more = WAYS[way]
    died = 0
    for _ in range(12):
        process = subject.operator.begin(verb, subject.name, *more)
        try:
            process.communicate(timeout=chance.uniform(0.8, 4.0))
        except subprocess.TimeoutExpired:
            died += 1
        process.kill()
        process.communicate()
        subject.recovered()
        subject.is_there_once(f"{way}, at random")
    print(f"{subject.engine.kind}, {way}: killed {died} times")
    assert died


@pytest.mark.soak
@pytest.mark.parametrize("moment", ["replacing", "SIGTERM sent", "starting"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_that_restarts_in_the_middle_leaves_one_container_that_runs(
    kind: Kind, moment: str, name: str, tmp_path: Path
) -> None:
    options = ("--live-restore",) if kind == "docker" else ()
    with private(kind, *options) as engine:
        engine.load("crash:one", busybox_tree(), f'CMD ["sh", "-c", "{SERVES}"]')
        engine.run(name, image="crash:one")
        engine.await_log(name, "serving")
        subject = Subject(Operator(engine, tmp_path), name, "no")
        process = subject.operator.begin("recreate", name, "--settle", "2s")
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if moment in line:
                    break
            engine.end()
            engine.start()
            out, err = process.communicate(timeout=COMMAND_S)
        finally:
            process.kill()
            process.communicate()
        print(f"{kind}, {moment}: exit {process.returncode}: {err or out}")
        subject.is_there_once(f"{moment}: {out} {err}")


@pytest.mark.parametrize("engine", ["docker", pytest.param("podman", marks=pytest.mark.soak)], indirect=True)
def test_of_two_that_replace_the_same_container_one_is_refused(subject: Subject) -> None:
    words = ("--settle", "1s", "--json")
    first = subject.operator.begin("recreate", subject.name, *words)
    second = subject.operator.begin("upgrade", subject.name, "--image", "crash:two", *words)
    codes = []
    for process in (first, second):
        process.communicate(timeout=COMMAND_S)
        codes.append(process.returncode)
    assert sorted(codes) in ([0, 5], [0, 0]), "one after the other is as good"
    subject.is_there_once("two at once")
