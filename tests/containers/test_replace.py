"""A container is replaced by its like, or by one of another image: never two of them, never none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine, await_true, busybox_tree
from tests.containers.hitless_cli import Operator

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

SERVES = "trap 'echo bye; exit 0' TERM; echo serving; while :; do sleep 0.2; done"
QUICK = ("--settle", "1s", "--json")


@pytest.fixture
def images(engine: PrivateEngine) -> Iterator[None]:
    """Two releases of a service, and one that does not start."""
    for tag, command in (("one", SERVES), ("two", SERVES), ("broken", "echo cannot; exit 9")):
        if f"service:{tag}" not in engine.cli("images", "--format", "{{.Repository}}:{{.Tag}}"):
            engine.load(
                f"service:{tag}", busybox_tree(), f'CMD ["sh", "-c", "{command}"]', f"ENV RELEASE={tag}"
            )
    return


@pytest.fixture
def serving(engine: PrivateEngine, images: None, name: str) -> Iterator[str]:
    """A container with everything that is to be kept."""
    volume = f"v{name}"
    engine.run(
        name, image="service:one",
        options=(
            "--env", "COLOUR=blue", "--label", "team=images", "--memory", "64m", "--restart", "always",
            "--volume", f"{volume}:/data", "--workdir", "/data", "--hostname", "store",
        ),
    )  # fmt: skip
    engine.await_log(name, "serving")
    yield name
    engine.remove(name, f"{name}.hitless-new", f"{name}.hitless-old")
    engine.cli("volume", "rm", volume, check=False)


def kept(engine: PrivateEngine, name: str) -> dict[str, object]:
    """What must be the same in the new one."""
    found = engine.inspect(name)
    host, config = found["HostConfig"], found["Config"]
    return {
        "name": found["Name"],
        "colour": "COLOUR=blue" in config["Env"],
        "label": config["Labels"]["team"],
        "memory": host["Memory"],
        "policy": host["RestartPolicy"]["Name"],
        "volume": [(mount["Name"], mount["Destination"]) for mount in found["Mounts"]],
        "directory": config["WorkingDir"],
        "network": host["NetworkMode"],
        "hostname": config["Hostname"],
    }


def ours(engine: PrivateEngine, name: str) -> list[str]:
    """All containers of this name and the names that a replacement gives them."""
    rows = engine.get("/containers/json", all="true").json()
    return sorted(row["Names"][0].removeprefix("/") for row in rows if name in row["Names"][0])


def test_a_recreated_container_is_another_one_that_is_the_same(operator: Operator, serving: str) -> None:
    engine = operator.engine
    before, was = kept(engine, serving), engine.inspect(serving)["Id"]
    said = operator.run("recreate", serving, *QUICK)
    assert said.code == 0, said
    assert said.first["status"] == "applied"
    assert said.first["stop"]["outcome"] == "clean"
    assert engine.inspect(serving)["Id"] == said.first["id"] != was
    assert kept(engine, serving) == before
    assert ours(engine, serving) == [serving]
    assert engine.state(serving) == "running"


def test_an_upgrade_takes_what_is_the_images_from_the_new_image(operator: Operator, serving: str) -> None:
    engine = operator.engine
    before = kept(engine, serving)
    said = operator.run("upgrade", serving, "--image", "service:two", *QUICK)
    assert said.code == 0, said
    assert kept(engine, serving) == before
    env = engine.inspect(serving)["Config"]["Env"]
    assert "RELEASE=two" in env
    assert "RELEASE=one" not in env
    again = operator.run("upgrade", serving, "--image", "service:two", *QUICK)
    assert (again.code, again.first["status"]) == (0, "unchanged")


@pytest.mark.parametrize(
    ("engine", "order"),
    [
        ("docker", ()),
        ("docker", ("--new-first",)),
        ("podman", ()),
        pytest.param("podman", ("--new-first",), marks=pytest.mark.soak),
    ],
    indirect=["engine"],
)
def test_an_upgrade_that_fails_brings_the_old_one_back(
    operator: Operator, serving: str, order: tuple[str, ...]
) -> None:
    engine = operator.engine
    before, was = kept(engine, serving), engine.inspect(serving)["Id"]
    said = operator.run("upgrade", serving, "--image", "service:broken", *order, *QUICK)
    assert said.code == 3, said
    assert said.first["status"] == ("rejected" if order else "rolled_back")
    assert said.first["reason"] == "ended"
    assert "cannot" in said.first["log"]
    assert engine.inspect(serving)["Id"] == was
    assert kept(engine, serving) == before
    assert ours(engine, serving) == [serving]
    assert engine.state(serving) == "running"
    if order:
        assert "bye" not in engine.logs(serving), "the old one never noticed"


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
def test_an_image_that_is_not_there_changes_nothing(operator: Operator, serving: str) -> None:
    said = operator.run("upgrade", serving, "--image", "service:nine", *QUICK)
    assert (said.code, said.first["reason"]) == (3, "image_missing")
    assert operator.engine.logs(serving).count("serving") == 1


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
def test_new_first_leaves_no_moment_without_one_that_serves(operator: Operator, serving: str) -> None:
    said = operator.run("upgrade", serving, "--image", "service:two", "--new-first", *QUICK)
    assert said.code == 0, said
    assert said.first["down_s"] == 0
    assert ours(operator.engine, serving) == [serving]


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
def test_an_old_one_that_does_not_end_and_is_to_be_left_serves_on(operator: Operator, name: str) -> None:
    engine = operator.engine
    engine.run(name, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.2; done")
    engine.await_log(name, "ready")
    said = operator.run("recreate", name, "--wait", "1s", "--at-end", "leave", *QUICK)
    assert (said.code, said.first["status"], said.first["reason"]) == (3, "rejected", "deadline")
    assert ours(engine, name) == [name]
    assert engine.state(name) == "running"
    engine.remove(name)


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
def test_a_container_that_does_not_run_is_replaced_and_not_started(operator: Operator, name: str) -> None:
    engine = operator.engine
    engine.run(name, "sh", "-c", SERVES, detach=False)
    said = operator.run("recreate", name, *QUICK)
    assert (said.code, said.first["status"]) == (0, "applied")
    assert engine.state(name) == "created"
    engine.remove(name)


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
def test_a_restarted_container_is_the_same_one_and_serves(operator: Operator, serving: str) -> None:
    engine = operator.engine
    was = engine.inspect(serving)["Id"]
    said = operator.run("restart", serving, *QUICK)
    assert (said.code, said.first["status"]) == (0, "applied"), said
    assert engine.inspect(serving)["Id"] == was
    assert engine.logs(serving).count("serving") == 2
    assert engine.inspect(serving)["HostConfig"]["RestartPolicy"]["Name"] == "always"


@pytest.mark.parametrize(
    ("engine", "event"),
    [
        ("podman", "starting"),  # Docker's turn is in test_crashes
        *(
            pytest.param("docker", event, marks=pytest.mark.soak)
            for event in ("replacing", "stopping", "starting")
        ),
        *(pytest.param("podman", event, marks=pytest.mark.soak) for event in ("replacing", "stopping")),
    ],
    indirect=["engine"],
)
def test_what_a_killed_hitless_began_is_finished_or_undone_by_the_next(
    operator: Operator, images: None, name: str, event: str
) -> None:
    engine = operator.engine
    slow = "trap 'sleep 2; exit 0' TERM; echo serving; while :; do sleep 0.2; done"
    engine.run(name, "sh", "-c", slow, image="service:one", options=("--restart", "always"))
    engine.await_log(name, "serving")
    was = engine.inspect(name)["Id"]
    shown = {
        "replacing": "replacing",
        "stopping": "stopping:",
        "signalled": "SIGTERM sent",
        "starting": "starting",
    }
    process = operator.begin("recreate", name, "--settle", "2s")
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if shown[event] in line:
                break
    finally:
        process.kill()
        process.communicate()
    next_one = operator.run("stop", "no-such-container")
    assert next_one.code == 6
    assert "had been interrupted" in next_one.err
    await_true(lambda: engine.state(name) == "running", what="one that runs")
    assert ours(engine, name) == [name]
    assert engine.inspect(name)["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert engine.inspect(name)["Id"] == was, "it was undone: nobody knew that the new one was healthy"
    assert list((operator.folder / "state").glob("*.json")) == []
    engine.remove(name)
