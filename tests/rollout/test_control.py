"""Pause, resume, abort, rollback and status: durable, from any process, and no node is left out of service for nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

import hitless.rollout.runner as runner_module
from hitless.rollout.errors import Late, Rejected, Stopped, Unreachable
from rollout.conftest import Make
from rollout.ground import DEADLINE_S, Ground


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


@pytest.fixture
def draining(ground: Ground) -> Iterator[tuple[Ground, subprocess.Popen[str]]]:
    """A runner that waits for a session of n1, which lasts until the test ends it."""
    ground.write("2")
    (ground.balancer / "sessions-n1").write_text("1\n")
    runner = ground.begin("run", "--json")
    wait_until(lambda: ground.is_at("n1.drain"))
    yield ground, runner
    if runner.poll() is None:
        runner.kill()
    runner.communicate()


def test_a_pause_lets_the_node_come_back_first_and_resume_goes_on(
    draining: tuple[Ground, subprocess.Popen[str]],
) -> None:
    ground, runner = draining
    asked = ground.hitless("pause")
    assert asked.returncode == 0
    assert "rollout 1 was asked to pause" in asked.stdout
    (ground.balancer / "sessions-n1").write_text("0\n")
    out, err = runner.communicate(timeout=DEADLINE_S)
    assert runner.returncode == 3, "what is not done must not look done"
    assert json.loads(out)["reason"] == "paused"
    assert "paused before n1.soak, as was asked" in err
    assert ground.releases() == {"n1": "2", "n2": "1", "n3": "1"}
    assert set(ground.traffic().values()) == {"ready"}
    assert ground.hitless("status").returncode == 3
    assert ground.resume().status == "done"


def test_an_abort_leaves_the_drain_and_gives_the_traffic_back(
    draining: tuple[Ground, subprocess.Popen[str]],
) -> None:
    ground, runner = draining
    assert ground.hitless("abort").returncode == 0
    out, err = runner.communicate(timeout=DEADLINE_S)
    assert runner.returncode == 3, out + err
    assert ground.releases() == dict.fromkeys(ground.nodes, "1")
    assert set(ground.traffic().values()) == {"ready"}
    assert ground.status().row.status == "aborted"
    with pytest.raises(Unreachable, match="no rollout of images under way"):
        ground.resume()


def test_ctrl_c_pauses_and_twice_leaves_what_only_waits(
    draining: tuple[Ground, subprocess.Popen[str]],
) -> None:
    ground, runner = draining
    runner.send_signal(signal.SIGINT)
    assert runner.stderr is not None
    assert "pausing" in runner.stderr.readline()
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=DEADLINE_S)
    assert runner.returncode == 3
    report = ground.status()
    assert (report.row.status, report.steps["n1.drain"].state) == ("paused", "left")
    (ground.balancer / "sessions-n1").write_text("0\n")
    assert ground.resume().status == "done"


def test_status_says_what_is_waited_for_and_who_is_at_work(
    draining: tuple[Ground, subprocess.Popen[str]],
) -> None:
    ground, runner = draining
    wait_until(lambda: "waits for 1 sessions" in ground.status().steps["n1.drain"].note)
    answer = ground.json("status")
    assert answer["status"] == "running"
    assert f"pid {runner.pid}" in answer["holder"]
    assert [each.partition(" for ")[0] for each in answer["waits_for"]] == ["n1.drain"]
    assert {step["state"] for step in answer["steps"]} == {"done", "running", "planned"}


def test_a_runner_that_is_killed_leaves_the_lock_and_status_says_that_it_is_gone(
    draining: tuple[Ground, subprocess.Popen[str]],
) -> None:
    ground, runner = draining
    runner.kill()
    runner.wait()
    assert ground.status().holder is None
    assert "the last one is gone without a word" in ground.status().waits_for[0]
    (ground.balancer / "sessions-n1").write_text("0\n")
    assert ground.resume().status == "done"


def test_sessions_that_outlive_the_drain_are_told_by_age_and_nothing_is_cut(ground: Ground) -> None:
    ground.write("2", more="deadlines: {drain: 500ms}")
    (ground.balancer / "sessions-n1").write_text("2\n")
    ground.write_sessions("n1", [("192.0.2.7:4711", 93.0), ("192.0.2.8:4712", 12.0)])
    with pytest.raises(
        Late, match=r"n1 still has 2 sessions after 0.5 s; the oldest: 192.0.2.7:4711 for 93 s, 192.0.2.8"
    ):
        ground.run()
    assert "192.0.2.7:4711 for 93 s" in ground.status().waits_for[0]
    assert ground.releases() == dict.fromkeys(ground.nodes, "1")
    assert ground.actions("n1") == ["start 1"]


def test_sessions_are_cut_only_where_that_was_said(ground: Ground) -> None:
    ground.write("2", more="deadlines: {drain: 500ms}\ndrain: {late: proceed}")
    (ground.balancer / "sessions-n1").write_text("2\n")
    assert ground.run().status == "done"
    assert "its requests are cut, as drain.late says" in ground.status().steps["n1.drain"].note
    assert ground.status().steps["n2.drain"].note == "no session and nothing queued"


def test_a_rollout_that_is_not_over_is_not_begun_again(ground: Ground) -> None:
    ground.write("2", more="deadlines: {health: 300ms}")
    (ground.node("n1") / "ill-2").touch()
    with pytest.raises(Late):
        ground.run()
    with pytest.raises(
        Rejected, match=r"rollout 1 to release 2 is not over .*; resume it, abort it, or roll it back"
    ):
        ground.run()
    assert ground.roll_back().status == "done"
    assert ground.releases() == dict.fromkeys(ground.nodes, "1")


def test_a_second_run_finds_nothing_to_do(ground: Ground) -> None:
    ground.write("2")
    ground.run()
    planned = ground.json("plan")
    assert [step["id"] for turn in planned["plan"]["turns"] for step in turn["steps"]] == ["check", "verify"]
    assert ground.run().status == "done"
    assert ground.actions("n1").count("stop") == 1


def test_nodes_of_a_batch_are_upgraded_side_by_side_and_never_more_at_once(make_ground: Make) -> None:
    ground = make_ground(7)
    ground.write("2", more="batch: 3")
    assert ground.run().status == "done"
    assert ground.releases() == dict.fromkeys(ground.nodes, "2")
    out, most = set(), 0
    for line in ground.told_balancer():
        action, node = line.split()
        out = out - {node} if action == "ready" else out | {node}
        most = max(most, len(out))
    assert most == 3


def test_plan_changes_nothing_and_its_difference_to_the_last_is_told(ground: Ground) -> None:
    path = ground.write("2")
    first = ground.json("plan")
    assert first["id"] == ground.json("plan")["id"], "the same world gives the same plan"
    assert not (ground.folder / "state" / "images.sqlite").exists()
    assert all(ground.actions(name) == ["start 1"] for name in ground.nodes)
    ground.run()
    path.write_text(
        path.read_text().replace('release: "2"', 'release: "3"').replace("soak: 100ms", "soak: 200ms")
    )
    changes = {each["step"]: each for each in ground.json("plan", "--diff")["diff"]}
    assert changes["n1.soak"]["sign"] == "~"
    assert "watch it for 0.2 s" in changes["n1.soak"]["after"]


def test_a_plan_whose_gates_do_not_hold_exits_with_3(ground: Ground) -> None:
    ground.write("2", n3="unlisted")
    done = ground.hitless("plan")
    assert done.returncode == 3
    assert "the server n3, which is no node" in done.stdout


def test_a_rollout_whose_nodes_are_not_described_any_more_is_not_resumed(ground: Ground) -> None:
    ground.write("2", more="deadlines: {health: 300ms}")
    (ground.node("n1") / "ill-2").touch()
    with pytest.raises(Late):
        ground.run()
    ground.write("2", n2="unlisted")
    with pytest.raises(Rejected, match="rollout 1 was planned with n2, which is not described any more"):
        ground.resume()


def test_an_abort_in_the_middle_of_an_upgrade_lets_the_node_come_back(ground: Ground) -> None:
    ground.write("2")
    (ground.node("n1") / "hold").touch()
    runner = ground.begin("run")
    try:
        wait_until(lambda: ground.is_at("n1.upgrade"))
        asyncio.run(ground.rollouts().ask("abort"))
    finally:
        (ground.node("n1") / "hold").unlink()
        out, err = runner.communicate(timeout=DEADLINE_S)
    assert runner.returncode == 3, out + err
    assert ground.status().row.status == "aborted"
    assert ground.releases() == {"n1": "2", "n2": "1", "n3": "1"}
    assert set(ground.traffic().values()) == {"ready"}
    assert ground.roll_back().status == "done"
    assert ground.releases() == dict.fromkeys(ground.nodes, "1")


@pytest.mark.parametrize(("wish", "status"), [("abort", "aborted"), ("pause", "paused")])
def test_no_node_is_drained_after_the_wish_to_stop(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, wish: str, status: str
) -> None:
    ground.write("2")
    monkeypatch.setattr(runner_module, "TOLD_S", DEADLINE_S)  # nobody looks but the boundary itself
    rollouts = ground.rollouts()

    async def wished() -> None:
        running = asyncio.create_task(rollouts.run())
        (ground.node("n1") / "hold").touch()
        try:
            await asyncio.to_thread(wait_until, lambda: ground.is_at("n1.upgrade"))
            await ground.rollouts().ask(wish)
        finally:
            (ground.node("n1") / "hold").unlink()
            await asyncio.wait({running})
        with pytest.raises(Stopped):
            running.result()

    asyncio.run(wished())
    assert ground.status().row.status == status
    assert ground.releases() == {"n1": "2", "n2": "1", "n3": "1"}


def test_a_plan_says_without_colours_which_gates_do_not_hold(ground: Ground) -> None:
    ground.write("2", n3="unlisted")
    done = ground.hitless("plan")
    assert done.returncode == 3
    assert "gate releases holds: " in done.stdout
    assert "gate inventory does not hold: the balancer front has the server n3" in " ".join(
        done.stdout.split()
    )
    assert done.stdout.endswith("the rollout cannot begin\n")
