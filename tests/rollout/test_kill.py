"""kill -9 of the runner, wherever: who resumes comes to the same end."""

from __future__ import annotations

from rollout.ground import Ground

CHECK = 4
"""Boundaries of the check with which every runner begins: before it, begun, acted, done."""
PARTS = {1: "before a step", 2: "when it is begun", 3: "when it has acted", 4: "when it is written down"}


def assert_done_once(ground: Ground) -> None:
    """The end of a rollout, and that no node was stopped, upgraded or started more often than by a runner that lives."""
    assert ground.releases() == dict.fromkeys(ground.nodes, "2")
    assert set(ground.traffic().values()) == {"ready"}
    for name in ground.nodes:
        assert ground.actions(name) == ["start 1", "stop", "upgrade 2", "start 2"]
    report = ground.status()
    assert report.row.status == "done"
    assert {row.state for row in report.steps.values()} <= {"done", "seen"}


def test_a_runner_killed_at_every_boundary_of_every_step_is_resumed_to_the_same_end(make_ground) -> None:  # type: ignore[no-untyped-def]
    """One rollout, and a new runner after each kill: each is killed at the next boundary of the step that comes next."""
    ground = make_ground(2)
    ground.write("2")
    kills, verb = 0, "run"
    alive = True
    while alive:
        alive = False
        for part in PARTS:
            if ground.killed(verb, CHECK + part):
                alive, verb = True, "resume"
                kills += 1
            else:
                break
    steps = sum(1 for _ in ground.status().row.plan.steps())
    assert kills >= 3 * (steps - 1), "hardly anything was killed: the test shows nothing"
    assert_done_once(ground)
