"""kill -9 of the runner, wherever: who resumes comes to the same end."""

from __future__ import annotations

import random
from typing import Final

import pytest

from rollout.conftest import Make
from rollout.ground import Ground

PARTS: Final = 4
"""Boundaries of a step: before it, begun, acted, written down."""
INSTANTS: Final = 10
LONGEST_S: Final = 0.6
"""Less than half of what an undisturbed rollout takes on an idle machine."""


def with_rows(ground: Ground) -> None:
    """A database with rows of release 1, and the description of the way to 2."""
    more = ground.with_database(f"sqlite:///{ground.folder}/images.db")
    ground.sql("INSERT INTO images (name, is_public) VALUES ('a', 1), ('b', 0), ('c', 1)")
    ground.write("2", more=more)


def assert_at_the_end(ground: Ground) -> None:
    """What a rollout that nobody disturbed comes to."""
    assert ground.releases() == dict.fromkeys(ground.nodes, "2")
    assert set(ground.traffic().values()) == {"ready"}
    report = ground.status()
    assert report.row.status == "done"
    assert {step.id for step in report.row.plan.steps()} == report.steps.keys()
    assert {row.state for row in report.steps.values()} <= {"done", "seen"}
    assert "is_public" not in ground.columns()
    assert ground.sql("SELECT name, visibility FROM images ORDER BY name") == [
        ("a", "public"),
        ("b", "private"),
        ("c", "public"),
    ]


@pytest.mark.timeout(400)
def test_a_runner_killed_at_every_boundary_of_every_step_is_resumed_to_the_same_end(
    make_ground: Make,
) -> None:
    """One rollout, and a new runner after each kill, which is killed in its turn at the next boundary of the step that comes
    next. No node is stopped, upgraded or started more often than by a runner that lives."""
    ground = make_ground(2)
    with_rows(ground)
    verb, is_over, killed_in = "run", False, {"check"}
    while not is_over:
        for part in range(PARTS):
            if not ground.killed_at(verb, PARTS * len(done_anew(ground)) + 1 + part):
                is_over = True
                break
            verb = "resume"
            killed_in |= set() if ground_is_new(ground) else running(ground)
    assert_at_the_end(ground)
    for name in ground.nodes:
        assert ground.actions(name) == ["start 1", "stop", "upgrade 2", "start 2"]
    report = ground.status()
    assert report.steps["migrate.rest"].attempts == 0, "there was nothing left to interrupt"
    assert killed_in == report.steps.keys() - {"migrate.rest"}, "not every step was interrupted"


@pytest.mark.timeout(400)
def test_a_runner_killed_at_ten_random_instants_is_resumed_to_the_same_end(make_ground: Make) -> None:
    ground = make_ground(2)
    with_rows(ground)
    seed = random.randrange(1 << 32)
    chosen = random.Random(seed)
    kills = 0
    while kills < INSTANTS:
        verb = "run" if ground_is_new(ground) else "resume"
        if not ground.killed_after(verb, chosen.uniform(0.05, LONGEST_S)):
            break
        kills += 1
    if ground_is_new(ground):
        ground.run()
    elif ground.status().row.is_open:
        ground.resume()
    print(f"killed {kills} times, with the seed {seed}")  # shown if it fails
    assert_at_the_end(ground)
    assert kills >= 3, "hardly anything was killed: the test shows nothing"


def done_anew(ground: Ground) -> list[str]:
    """Steps that every runner does anew before it comes to what is left: what was measured yesterday proves nothing."""
    rows = {} if ground_is_new(ground) else ground.status().steps
    probes = [f"{name}.probe" for name, status in ground.traffic().items() if status != "ready"]
    again = [step for step in (*probes, "verify") if step in rows and rows[step].state == "done"]
    return ["check", *again]


def running(ground: Ground) -> set[str]:
    """The steps that the runner which was killed had begun and not ended."""
    return {step for step, row in ground.status().steps.items() if row.state == "running"}


def ground_is_new(ground: Ground) -> bool:
    """Whether no rollout has begun."""
    journal = ground.folder / "state" / "images.sqlite"
    return not journal.exists() or ground.last() is None


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_runner_killed_once_at_any_boundary_is_resumed_to_the_same_end(make_ground: Make) -> None:
    """A whole rollout for each boundary."""
    count = 1
    while True:
        ground = make_ground(2)
        with_rows(ground)
        was_killed = ground.killed_at("run", count)
        if was_killed and ground_is_new(ground):
            ground.run()
        elif was_killed:
            ground.resume()
        assert_at_the_end(ground)
        ground.end()
        if not was_killed:
            break
        count += 1
    assert count > 4 * len(ground.status().steps) - 4, "hardly anything was killed: the test shows nothing"
