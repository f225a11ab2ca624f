"""Timers keep their times whatever happens to others; nothing is due twice, and nothing drifts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitless.agent.definition import PollingSource
from hitless.agent.polling.schedule import Schedule, spread


def source(interval: int, jitter: float | None = None, meters: tuple[str, ...] = ("x",)) -> PollingSource:
    return PollingSource(interval=interval, meters=meters, jitter=jitter)


def dues(schedule: Schedule, name: str, until: float) -> list[float]:
    """The due times of one source when time goes from one to the next."""
    found = []
    while schedule.next_due is not None and schedule.next_due <= until:
        found += [tick.due for tick in schedule.take(schedule.next_due) if tick.source == name]
    return found


def test_due_times_do_not_drift() -> None:
    schedule = Schedule()
    schedule.arrange({"a": source(3, jitter=0)}, 0.1)
    assert dues(schedule, "a", 30_001.0)[-1] == pytest.approx(30_000.1, abs=1e-6)


def test_starts_are_spread_over_the_interval_and_the_same_in_every_process() -> None:
    schedule = Schedule()
    schedule.arrange({f"s{number}": source(100) for number in range(500)}, 0.0)
    first = [tick.due for tick in schedule.take(100.0)]
    assert len(first) == 500
    assert all(sum(low <= due < low + 10 for due in first) > 20 for low in range(0, 100, 10))
    assert spread("host") == pytest.approx(0.2783307)


def test_jitter_bounds_the_spread() -> None:
    schedule = Schedule()
    schedule.arrange({f"s{number}": source(100, jitter=2.0) for number in range(100)}, 50.0)
    assert all(50 <= tick.due <= 52 for tick in schedule.take(52.0))
    assert schedule.next_due is not None
    assert schedule.next_due >= 150


def test_what_was_slept_through_is_due_once_and_counted() -> None:
    schedule = Schedule()
    schedule.arrange({"a": source(10, jitter=0)}, 0.0)
    (tick,) = schedule.take(35.0)
    assert (tick.due, tick.missed) == (30.0, 3)
    assert schedule.next_due == 40.0


def test_a_new_interval_counts_from_the_last_due_time() -> None:
    schedule = Schedule()
    schedule.arrange({"a": source(300, jitter=0)}, 0.0)
    schedule.take(0.0)
    schedule.arrange({"a": source(60, jitter=0)}, 20.0)
    assert schedule.next_due == 60.0
    schedule.arrange({"a": source(10, jitter=0)}, 45.0)  # its time has passed already: at once
    assert schedule.next_due is not None
    assert schedule.next_due <= 55.0


def test_a_source_that_is_gone_is_due_no_more() -> None:
    schedule = Schedule()
    schedule.arrange({"a": source(10), "b": source(10)}, 0.0)
    schedule.arrange({"b": source(10)}, 1.0)
    assert {tick.source for tick in schedule.take(1000.0)} == {"b"}
    schedule.arrange({}, 1000.0)
    assert schedule.next_due is None


@given(
    changes=st.lists(
        st.tuples(
            st.floats(0.01, 30),
            st.dictionaries(st.sampled_from("bcd"), st.integers(1, 20), max_size=3),
        ),
        max_size=20,
    )
)
@settings(max_examples=200, deadline=None)
def test_changes_of_others_never_move_a_timer(changes: list[tuple[float, dict[str, int]]]) -> None:
    schedule, now, kept = Schedule(), 0.0, source(7)
    schedule.arrange({"a": kept}, now)
    found = []
    for step, others in changes:
        now += step
        found += dues(schedule, "a", now)
        meters = (f"m{now}",)  # other meters at the same times
        schedule.arrange({"a": source(7, meters=meters), **{k: source(v) for k, v in others.items()}}, now)
    found += dues(schedule, "a", now + 100)
    first = 7 * spread("a")
    assert found == [first + number * 7 for number in range(len(found))]
    assert found[-1] > now + 100 - 7 - 1e-6
