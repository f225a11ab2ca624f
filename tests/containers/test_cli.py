"""The commands as an operator uses them: what they print, and what they exit with."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine
from tests.containers.hitless_cli import Operator

pytestmark = [pytest.mark.root, pytest.mark.timeout(200)]
ON_ONE = pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)

QUICK = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.2; done"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.2; done"
SLOW = "trap 'sleep 4; echo finished; exit 0' TERM; echo ready; while :; do sleep 0.2; done"


@pytest.fixture
def made(engine: PrivateEngine) -> Iterator[list[str]]:
    """Names that are removed at the end."""
    names: list[str] = []
    yield names
    engine.remove(*names)


def up(engine: PrivateEngine, made: list[str], name: str, script: str, *options: str) -> str:
    engine.run(name, "sh", "-c", script, options=options)
    made.append(name)
    engine.await_log(name, "ready")
    return name


@ON_ONE
def test_the_exit_code_and_the_words_tell_how_each_stop_came_out(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    quick = up(engine, made, f"{name}-quick", QUICK)
    stubborn = up(engine, made, f"{name}-stubborn", STUBBORN)
    done = operator.run("stop", quick)
    assert done.code == 0, done
    assert f"clean {quick} ended by itself" in done.out
    again = operator.run("stop", quick)
    assert (again.code, "already_stopped" in again.out) == (0, True)
    left = operator.run("stop", stubborn, "--wait", "1s", "--at-end", "leave")
    assert left.code == 3, left
    assert "refused (deadline)" in left.err
    forced = operator.run("stop", quick, stubborn, "--wait", "1s")
    assert forced.code == 4, forced
    assert "forced (deadline)" in forced.err
    assert "give it longer, or look at what it waits for" in forced.err
    assert operator.run("stop", f"{name}-nobody").code == 6


@ON_ONE
def test_what_makes_no_sense_is_refused_before_anything_moves(
    operator: Operator, made: list[str], name: str
) -> None:
    quick = up(operator.engine, made, name, QUICK, "--label", "hitless.stop.wait=soon")
    for words, code, says in (
        (("stop",), 2, "say which containers"),
        (("stop", quick, "--all"), 2, "in one way only"),
        (("stop", ""), 2, "a name or label is empty"),
        (("stop", quick), 2, "wait: expected seconds"),
        (("stop", quick, "--signal", "NOPE"), 2, "'NOPE' is no signal"),
        (("stop", quick, "--steps", "TERM"), 2, "write a signal and how long to wait"),
    ):
        said = operator.run(*words)
        assert (said.code, says in said.err) == (code, True), said
    operator.configure("[service.x]\nwiat = 5\n")
    said = operator.run("stop", quick)
    assert said.code == 2
    assert "containers.toml:2: service.x.wiat" in said.err
    assert operator.engine.state(quick) == "running"


@ON_ONE
def test_explain_shows_what_applies_and_why_and_does_nothing(
    operator: Operator, made: list[str], name: str
) -> None:
    quick = up(operator.engine, made, name, QUICK, "--label", "hitless.stop.accept=0,3")
    operator.configure(f'[service."{name[:4]}*"]\nsteps = ["SIGQUIT 5m", "SIGTERM 30s"]\n')
    shown = operator.run("stop", quick, "--explain", "--at-end", "leave")
    assert shown.code == 0, shown
    assert "SIGQUIT, 300 s → SIGTERM, 30 s → leave it running" in shown.out
    rows = operator.run("stop", quick, "--explain", "--json").first["parameters"]
    origins = {row["key"]: row["origin"] for row in rows}
    assert origins["steps"].endswith("containers.toml:2")
    assert origins["accept"] == "label hitless.stop.accept"
    assert operator.engine.state(quick) == "running"
    listed = operator.run("ps", quick, "--json").first
    assert (listed["state"], listed["stop"]) == ("running", "SIGQUIT, 300 s → SIGTERM, 30 s → SIGKILL")


@ON_ONE
def test_users_are_stopped_first_and_what_they_use_is_left_if_they_do_not_end(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    web, store = f"{name}-web", f"{name}-store"
    up(engine, made, web, STUBBORN)
    up(engine, made, store, QUICK)
    operator.configure(
        f'[service."{store}"]\nafter = ["{web}"]\n[service."{web}"]\nwait = "1s"\nat_end = "leave"\n'
    )
    said = operator.run("stop", web, store, "--json")
    assert said.code == 3, said
    outcomes = {each["container"]: each for each in said.json["containers"]}
    assert outcomes[store]["reason"] == "used"
    assert outcomes[store]["steps"] == []
    assert engine.state(store) == "running"
    forced = operator.run("stop", web, store, "--at-end", "kill", "--json")
    ends = [engine.inspect(each)["State"]["FinishedAt"] for each in (web, store)]
    assert (forced.code, ends) == (4, sorted(ends)), "the store ended after its user"


@ON_ONE
def test_a_stop_can_be_extended_and_cancelled_from_another_terminal_and_not_doubled(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    slow = up(engine, made, name, STUBBORN, "--restart", "always")
    idle = up(engine, made, f"{name[:-1]}-idle", QUICK)  # comes before it
    process = operator.begin("stop", slow, "--wait", "100s")
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "SIGTERM sent" in line:
                break
        more = operator.run("extend", idle, slow, "--by", "10m", "--json")
        assert (more.code, f"nobody is stopping {idle}" in more.err) == (6, True), more
        assert more.first["remaining_s"] > 600, "that one is not being stopped keeps no other from its time"
        second = operator.run("stop", slow, "--json")
        assert (second.code, second.first["reason"]) == (5, "in_progress")
        third = operator.run("recreate", slow, "--json")
        assert (third.code, third.first["reason"]) == (5, "in_progress")
        assert operator.run("cancel", "--all").code == 0
        out, err = process.communicate(timeout=60)
        assert process.returncode == 3, (out, err)
        assert "refused (cancelled)" in err
    finally:
        process.kill()
        process.communicate()
    assert engine.state(slow) in ("running", "stopping")
    assert engine.inspect(slow)["HostConfig"]["RestartPolicy"]["Name"] == "always"
    nobody = operator.run("cancel", slow)
    assert (nobody.code, f"nobody is stopping {slow}" in nobody.err) == (6, True)


@ON_ONE
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_the_command_cancels_and_kills_nobody(
    operator: Operator, made: list[str], name: str, number: signal.Signals
) -> None:
    slow = up(operator.engine, made, name, STUBBORN)
    process = operator.begin("stop", slow, "--wait", "100s")
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "SIGTERM sent" in line:
                break
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 3, err
    assert "nothing is killed" in err
    assert operator.engine.state(slow) == "running"


@ON_ONE
def test_a_killed_command_leaves_no_kill_behind_and_the_next_one_restores_the_policy(
    operator: Operator, made: list[str], name: str
) -> None:
    """The deadline of `docker stop` lives in the daemon; ours dies with us."""
    engine = operator.engine
    slow = up(engine, made, name, SLOW, "--restart", "unless-stopped")
    process = operator.begin("stop", slow, "--wait", "2s")
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "SIGTERM sent" in line:
                break
    finally:
        process.kill()
        process.communicate()
    engine.await_log(slow, "finished", 60)
    restored = operator.run("stop", slow, "--json")
    assert restored.code == 0, restored
    assert engine.inspect(slow)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert list((operator.folder / "state").glob("*.json")) == []


@ON_ONE
def test_json_is_one_object_and_nothing_else_is_printed(
    operator: Operator, made: list[str], name: str
) -> None:
    quick = up(operator.engine, made, name, QUICK)
    said = operator.run("stop", quick, "--json")
    assert set(json.loads(said.out)) == {"containers"}
    assert said.err == ""
    assert set(said.first) == {
        "container", "id", "outcome", "reason", "message", "exit_code", "oom", "seconds", "drained_s", "steps",
        "notes", "log",
    }  # fmt: skip


@ON_ONE
def test_without_an_engine_the_command_says_where_it_looked(operator: Operator) -> None:
    said = operator.run("stop", "x", "--engine", f"unix://{operator.folder}/nobody")
    assert said.code == 6
    assert "there is no engine socket" in said.err


def test_the_beginning_of_several_ids_is_no_name(docker: PrivateEngine, tmp_path: Path) -> None:
    ids = [docker.run(f"many-ids-{number}", "true", detach=False) for number in range(17)]
    try:
        first = [each[0] for each in ids]
        twice = next(letter for letter in first if first.count(letter) > 1)  # there are sixteen letters
        said = Operator(docker, tmp_path).run("stop", twice)
        assert (said.code, "several containers have an id that begins with" in said.err) == (2, True), said
    finally:
        docker.remove(*ids)
