"""Outcomes, plans and generations: the values that a change is told in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitless.change import (
    JSON,
    MOVES,
    Difference,
    ExitCode,
    Generation,
    IllegalMove,
    Outcome,
    Plan,
    State,
    Status,
    canonical,
    digest,
)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.applied(2), ExitCode.DONE),
        (Outcome.unchanged(2), ExitCode.DONE),
        (Outcome.rejected(1, reason="import_failed", message="no"), ExitCode.REJECTED),
        (Outcome.rejected(1, reason="bad_config", message="no", invalid=True), ExitCode.INVALID),
        (Outcome.rolled_back(1, reason="crashed", message="no"), ExitCode.REJECTED),
    ],
)
def test_the_exit_code_follows_from_the_outcome(outcome: Outcome, code: ExitCode) -> None:
    assert outcome.exit_code == code
    assert outcome.is_good == (code == 0)


def test_exit_codes_are_what_the_manual_says() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "INVALID": 2,
        "REJECTED": 3,
        "DEADLINE": 4,
        "BUSY": 5,
        "NOBODY": 6,
    }


outcomes = st.builds(
    Outcome,
    st.sampled_from(Status),
    st.integers(0, 10**6),
    st.none() | st.text("abc_", min_size=1),
    st.text(),
    st.text(),
    st.booleans(),
    st.none() | st.integers(1),
)


@given(outcomes)
def test_an_outcome_goes_over_the_wire_unharmed(outcome: Outcome) -> None:
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_an_outcome_of_another_version_is_understood_as_far_as_it_goes() -> None:
    known = {"status": "applied", "generation": 2, "message": "m", "news": 1}
    assert Outcome.from_json(known) == Outcome(Status.APPLIED, 2, None, "m")
    for wrong in ({}, {**known, "status": "great"}, {**known, "generation": "2"}):
        with pytest.raises(ValueError):
            Outcome.from_json(wrong)


def test_a_reason_is_a_label() -> None:
    for wrong in ("Import failed", "", "no-app", "e2big"):
        with pytest.raises(ValueError, match="label"):
            Outcome.rejected(1, reason=wrong, message="x")


def test_a_plan_reads_as_what_would_happen() -> None:
    plan = Plan(
        kind="reload",
        from_generation=3,
        to_generation=4,
        differences=(
            Difference("workers", 2, 4),
            Difference("log.file", None, "/x"),
            Difference("tls", "***", "***"),
        ),
        steps=("import the application", "start 4 workers"),
        settings={"password": "hush"},
    )
    assert plan.lines() == (
        "reload: generation 3 → 4",
        "  workers: 2 → 4",
        '  log.file: (not set) → "/x"',
        "  tls: changed",
        "  - import the application",
        "  - start 4 workers",
    )
    assert "hush" not in repr(plan) + json.dumps(plan.to_json())


def test_a_plan_that_changes_nothing_says_so() -> None:
    plan = Plan(kind="scale", from_generation=3, to_generation=3, changes_nothing=True)
    assert plan.lines() == ("scale: nothing to change; generation 3 stays",)


def test_a_generation_goes_only_where_the_table_leads() -> None:
    for start in State:
        for to in State:
            generation = Generation(7, state=start)
            if to in MOVES[start]:
                generation.move(to)
                assert generation.state is to
            else:
                with pytest.raises(IllegalMove, match=f"generation 7 is {start} and cannot become {to}"):
                    generation.move(to)
                assert generation.state is start


def test_a_life_from_birth_over_rollback_to_the_end() -> None:
    times = iter(range(100))
    generation = Generation(1, clock=lambda: float(next(times)))
    for state in (
        "ready",
        "serving",
        "draining",
        "paused",
        "preparing",
        "ready",
        "serving",
        "draining",
        "gone",
    ):
        generation.move(State(state))
    assert (generation.since, repr(generation)) == (9.0, "<generation 1 gone>")


def test_every_state_but_the_last_can_end_and_nothing_comes_back_from_there() -> None:
    assert all(State.GONE in MOVES[state] for state in State if state is not State.GONE)
    assert MOVES[State.GONE] == frozenset()


def test_only_what_is_ready_or_called_back_may_serve() -> None:
    assert {state for state in State if State.SERVING in MOVES[state]} == {State.READY, State.DRAINING}


def test_equal_values_have_one_text_and_one_hash() -> None:
    assert canonical({"b": [1, 2.0], "a": "ü"}) == '{"a":"ü","b":[1,2.0]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert len(digest("\ud800")) == 64
    with pytest.raises(ValueError):
        canonical(float("nan"))


def test_a_long_value_is_shortened_where_people_read_it_and_whole_for_programs() -> None:
    many: list[JSON] = [f"process://{number}" for number in range(5000)]
    difference = Difference("resources", None, many)
    assert len(str(difference)) < 500
    assert "characters)" in str(difference)
    assert difference.to_json()["new"] == many
