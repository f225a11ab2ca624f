"""What others do to, or want of, a container that is to be replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine, await_true
from tests.containers.hitless_cli import Operator

pytestmark = [pytest.mark.root, pytest.mark.timeout(200)]
ON_ONE = pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)

QUICK = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.2; done"


@pytest.fixture
def made(engine: PrivateEngine) -> Iterator[list[str]]:
    """Names that are removed at the end."""
    names: list[str] = []
    yield names
    engine.remove(*reversed(names))


def up(engine: PrivateEngine, made: list[str], name: str, script: str, *options: str) -> str:
    engine.run(name, "sh", "-c", script, options=options)
    made.append(name)
    engine.await_log(name, "ready")
    return name


@ON_ONE
def test_the_old_one_serves_again_although_somebody_took_its_name(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    slow = up(engine, made, name, "trap 'sleep 5; exit 0' TERM; echo ready; while :; do sleep 0.2; done")
    old = engine.inspect(slow)["Id"]
    replacing = operator.begin("recreate", slow, "--json")
    note = operator.folder / "state"
    await_true(lambda: any('"signalled"' in each.read_text() for each in note.glob("*.json")), what="signal")
    engine.cli("rename", slow, f"{name}-away")
    engine.run(name, "sleep", "1000")
    made.append(old)
    out, _ = replacing.communicate(timeout=120)
    assert replacing.returncode == 3, out
    assert engine.state(old) == "running"
    refused = operator.run("restart", name, "--json")
    assert (refused.code, refused.first["reason"]) == (3, "state_unwritable")
    told = operator.run("stop", name, "--wait", "1s")
    assert "cannot be put right" in told.err
    assert str(note) in told.err
    engine.remove(name)
    assert "is undone" in operator.run("stop", old).err
    assert engine.inspect(old)["Name"].removeprefix("/") == name


@pytest.mark.parametrize("engine", ["docker"], indirect=True)  # it sets policies aside
@pytest.mark.parametrize("verb", ["stop", pytest.param("recreate", marks=pytest.mark.soak)])
def test_who_comes_after_a_killed_replacement_finds_the_policy_as_it_was(
    operator: Operator, made: list[str], name: str, verb: str
) -> None:
    engine = operator.engine
    script = "trap 'sleep 6; exit 0' TERM; echo ready; while :; do sleep 0.2; done"
    up(engine, made, name, script, "--restart", "always")
    killed = operator.begin("recreate", name)
    note = operator.folder / "state"
    await_true(lambda: any('"signalled"' in each.read_text() for each in note.glob("*.json")), what="signal")
    killed.kill()
    killed.communicate()
    assert engine.inspect(name)["HostConfig"]["RestartPolicy"]["Name"] == "no"
    done = operator.run(verb, name, "--json")
    assert done.code == 0, done
    found = engine.inspect(name)
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert (found["State"]["Status"] == "running") == (verb == "recreate")
    assert not engine.exists(f"{name}.hitless-new")
    assert list(note.glob("*.json")) == []


@ON_ONE
def test_what_others_are_tied_to_is_not_replaced_under_them(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    base = up(engine, made, f"{name}-base", QUICK)
    before = engine.inspect(base)["Id"]
    up(engine, made, f"{name}-side", QUICK, "--network", f"container:{base}")
    said = operator.run("recreate", base, "--json")
    assert (said.code, said.first["status"], said.first["reason"]) == (3, "rejected", "tied")
    assert f"{name}-side (network)" in said.first["message"]
    assert (engine.inspect(base)["Id"], engine.state(base)) == (before, "running")
    engine.remove(f"{name}-side")
    assert operator.run("recreate", base).code == 0


def test_what_is_in_a_pod_is_not_taken_out_of_it(podman: PrivateEngine, tmp_path: Path, name: str) -> None:
    operator = Operator(podman, tmp_path)
    podman.cli("pod", "create", "--infra=false", "--name", f"{name}-pod")
    try:
        made: list[str] = []
        inside = up(podman, made, name, QUICK, "--pod", f"{name}-pod")
        said = operator.run("recreate", inside, "--json")
        assert (said.code, said.first["reason"], podman.state(inside)) == (3, "tied", "running")
        assert "pod" in said.first["message"]
    finally:
        podman.cli("pod", "rm", "-f", f"{name}-pod")
