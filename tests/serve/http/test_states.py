"""The table of states, and the right to move a connection."""

from __future__ import annotations

import pytest

from hitless.serve.http.errors import ImpossibleTransition
from hitless.serve.http.states import NEXT, STAYS, TRANSITIONS, State, Step, stays_because, step

CLEAR = {"encrypted": False, "last": False, "kept_bytes": 0, "unsent_bytes": 0, "closing": False}


def test_every_state_has_a_row_and_a_word_on_handover() -> None:
    assert set(TRANSITIONS) == set(State) == set(STAYS)


def test_every_state_can_be_reached_from_an_opening_connection() -> None:
    reached, todo = {State.OPENING}, [State.OPENING]
    while todo:
        for after in TRANSITIONS[todo.pop()].values():
            if after not in reached:
                reached.add(after)
                todo.append(after)
    assert reached == set(State)


def test_every_state_but_the_last_leads_to_the_end_when_the_transport_is_lost() -> None:
    for state in set(State) - {State.CLOSED}:
        assert step(state, Step.LOST) is State.CLOSED


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("what", Step)
def test_a_step_that_is_not_in_the_table_is_an_error(state: State, what: Step) -> None:
    if what in TRANSITIONS[state]:
        assert step(state, what) is TRANSITIONS[state][what] is NEXT[state, what]
    else:
        with pytest.raises(ImpossibleTransition, match=state.name.lower()):
            step(state, what)


@pytest.mark.parametrize("state", State)
def test_only_an_idle_connection_may_move(state: State) -> None:
    because = stays_because(state, **CLEAR)  # type: ignore[arg-type]
    assert (because is None) == (state is State.IDLE)
    assert because == STAYS[state]


@pytest.mark.parametrize("state", State)
def test_only_a_state_that_may_move_can_be_offered(state: State) -> None:
    assert (Step.OFFER in TRANSITIONS[state]) == (STAYS[state] is None)


@pytest.mark.parametrize(
    ("guard", "because"),
    [
        ({"encrypted": True}, "it is encrypted"),
        ({"kept_bytes": 1}, "the next request has been read already"),
        ({"unsent_bytes": 1}, "part of a response is not sent yet"),
        ({"closing": True}, "it is closing"),
        ({"last": True}, "it has been told to close"),
    ],
)
def test_each_guard_keeps_an_idle_connection_here(guard: dict[str, object], because: str) -> None:
    assert stays_because(State.IDLE, **{**CLEAR, **guard}) == because  # type: ignore[arg-type]
