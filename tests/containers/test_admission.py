"""Who was taken out of its balancer is put back: after a restart, a replacement, a failure, and by the next run after a crash."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine, await_true, busybox_tree
from tests.containers.hitless_cli import Operator

from hitless.containers import BalancerDrain, Container, Opening, opened

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
ON_ONE = pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)

SERVES = "trap 'exit 0' TERM; echo serving; while :; do sleep 0.2; done"
QUICK = ("--settle", "0.5s", "--json")
TELLS = """\
import os, sys, time
state, folder = os.environ["HITLESS_STATE"], sys.argv[1]
with open(folder + "/told", "a") as told:
    told.write(state + " " + os.environ["HITLESS_CONTAINER_ID"] + "\\n")
if state == "drain" and os.path.exists(folder + "/slow"):
    time.sleep(100)
"""


class Balanced:
    """A container behind a balancer that writes down what it is told."""

    def __init__(self, operator: Operator, name: str) -> None:
        self.operator, self.name, self.folder = operator, name, operator.folder
        (self.folder / "tells.py").write_text(TELLS)
        tell = json.dumps([sys.executable, str(self.folder / "tells.py"), str(self.folder)])
        order = '[defaults]\norder = "old_first"\n'
        operator.configure(f"{order}[service.{name}]\ndrain.host = {tell}\ndrain.host_undo = {tell}\n")

    @property
    def id(self) -> str:
        return str(self.operator.engine.inspect(self.name)["Id"])

    def told(self) -> list[tuple[str, ...]]:
        """Since the last time."""
        path = self.folder / "told"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [tuple(line.split()) for line in lines]


@pytest.fixture
def balanced(operator: Operator, engine: PrivateEngine, name: str) -> Iterator[Balanced]:
    if "admit:broken" not in engine.cli("images", "--format", "{{.Repository}}:{{.Tag}}"):
        engine.load("admit:one", busybox_tree(), f'CMD ["sh", "-c", "{SERVES}"]')
        engine.load("admit:broken", busybox_tree(), 'CMD ["sh", "-c", "exit 9"]')
    engine.run(name, image="admit:one")
    engine.await_log(name, "serving")
    yield Balanced(operator, name)
    engine.remove(name, f"{name}.hitless-new", f"{name}.hitless-old")


@ON_ONE
def test_work_comes_again_as_soon_as_somebody_serves_and_goes_to_whoever_does(balanced: Balanced) -> None:
    run, name = balanced.operator.run, balanced.name
    first = balanced.id
    assert run("restart", name, *QUICK).code == 0
    assert balanced.told() == [("drain", first), ("ready", first)]
    assert run("recreate", name, *QUICK).code == 0
    second = balanced.id
    assert balanced.told() == [("drain", first), ("ready", second)]
    failed = run("recreate", name, "--order", "new_first", *QUICK)
    assert (failed.code, failed.first["order"]) == (0, "new_first")
    third = balanced.id
    assert balanced.told() == [("ready", third), ("drain", second)], (
        "the new one has work before the old one has none"
    )
    broken = run("upgrade", name, "--image", "admit:broken", *QUICK)
    assert (broken.code, broken.first["status"]) == (3, "rolled_back")
    assert balanced.told() == [("drain", third), ("ready", third)]
    assert run("stop", name, "--json").code == 0
    assert balanced.told() == [("drain", third)]


@ON_ONE
def test_one_that_cannot_be_put_back_is_told_and_is_no_success(balanced: Balanced) -> None:
    said = balanced.operator.run("restart", balanced.name, "--drain-host-undo", "false", *QUICK)
    assert (said.code, said.first["status"], said.first["reason"]) == (1, "applied", "still_drained")
    assert "false exited with 1" in said.first["message"]


@ON_ONE
def test_what_was_drained_when_hitless_was_killed_is_put_back_by_the_next_run(balanced: Balanced) -> None:
    slow = balanced.folder / "slow"
    slow.touch()
    process = balanced.operator.begin("stop", balanced.name, "--drain-timeout", "100s")
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "draining" in line:
                break
        await_true((balanced.folder / "told").exists, 60, what="word to the balancer")
    finally:
        process.kill()
        process.communicate()
    balanced.told()
    slow.unlink()
    assert balanced.operator.run("stop", "no-such-container").code == 6
    assert balanced.told() == [("ready", balanced.id)]
    assert balanced.operator.engine.state(balanced.name) == "running"


@ON_ONE
async def test_a_balancer_of_the_callers_own_may_fail_in_its_own_way(
    engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    class Broken(Exception):
        """Of somebody else's package."""

    class Failing:
        async def drain(self, server: str, deadline: object) -> None:
            raise Broken(f"{server} is unknown")

        async def ready(self, server: str, deadline: object) -> None:
            raise Broken("nobody is there")

    def server(container: Container) -> str:
        return f"web-{container.name}"

    engine.run(name, "sh", "-c", SERVES)
    try:
        async with opened(Opening(engine.address, state_dir=tmp_path)) as host:
            outcome = await host.stop(name, drains=(BalancerDrain(Failing(), server),))
        assert (outcome.ended.value, outcome.reason) == ("refused", "drain_failed")
        assert f"web-{name} is unknown" in outcome.message
        assert "nobody is there" in outcome.notes[0]
        assert engine.state(name) == "running"
    finally:
        engine.remove(name)


@ON_ONE
def test_one_that_its_engine_removes_is_only_replaced_new_first(operator: Operator, name: str) -> None:
    engine = operator.engine
    engine.run(name, "sh", "-c", SERVES, options=("--rm",))
    engine.await_log(name, "serving")
    try:
        said = operator.run("recreate", name, *QUICK)
        assert (said.code, said.first["reason"]) == (3, "conflict"), said
        assert "--rm" in said.first["message"]
        again = operator.run("recreate", name, "--new-first", *QUICK)
        assert (again.code, again.first["status"]) == (0, "applied"), again
        assert engine.state(name) == "running"
    finally:
        engine.remove(name)


@ON_ONE
def test_who_cancels_while_the_old_one_ends_gets_it_back_and_the_new_one_is_not_cut(
    balanced: Balanced,
) -> None:
    """New first: the new one has work by then, and is drained and stopped by its whole sequence, whatever was cancelled."""
    slow = balanced.folder / "slow"
    process = balanced.operator.begin(
        "recreate", balanced.name, "--new-first", "--settle", "0.5s", "--drain-timeout", "100s"
    )
    old = balanced.id
    slow.touch()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "draining" in line:
                break
        await_true(lambda: "drain" in (balanced.folder / "told").read_text(), 60, what="drain of the old one")
        slow.unlink()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 3, err
    assert balanced.id == old
    states = [(state, "old" if id_ == old else "new") for state, id_ in balanced.told()]
    assert states == [("ready", "new"), ("drain", "old"), ("ready", "old"), ("drain", "new")]
    assert balanced.operator.engine.state(balanced.name) == "running"
