"""The rules by which changed content is taken, with a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitless.config.settling import Settling


def test_content_is_taken_when_it_was_the_same_for_the_settle_time() -> None:
    settling = Settling(1.0, applied="A")
    assert not settling.see("B", 10.0)
    assert settling.due_s(10.4) == pytest.approx(0.6)
    assert not settling.see("B", 10.9)
    assert settling.see("B", 11.0)
    assert settling.due_s(11.0) is None


def test_half_written_content_is_never_taken() -> None:
    settling = Settling(1.0, applied="A")
    assert not settling.see("half", 0.0)
    assert not settling.see("whole", 0.9)
    assert not settling.see("whole", 1.5)
    assert settling.see("whole", 1.9)


def test_content_that_serves_is_not_taken() -> None:
    settling = Settling(0.0, applied="A")
    assert not settling.see("A", 0.0)
    assert not settling.see("A", 100.0)


def test_content_is_taken_once() -> None:
    settling = Settling(0.0, applied="A")
    assert settling.see("B", 0.0)
    assert not settling.see("B", 50.0)


def test_failed_content_is_tried_again_only_after_other_content() -> None:
    settling = Settling(1.0, applied="A")
    assert not settling.see("B", 0.0)
    assert settling.see("B", 1.0)
    settling.failed_with("B")
    assert settling.failed == "B"
    assert not settling.see("B", 100.0)
    assert not settling.see("C", 101.0)
    assert settling.see("C", 102.0)
    settling.failed_with("C")
    assert not settling.see("B", 103.0)
    assert settling.see("B", 104.0)


def test_going_back_to_what_serves_clears_the_failure_and_takes_nothing() -> None:
    settling = Settling(1.0, applied="A")
    settling.see("B", 0.0)
    assert settling.see("B", 1.0)
    settling.failed_with("B")
    assert not settling.see("A", 5.0)
    assert settling.failed is None
    assert not settling.see("B", 6.0)
    assert settling.see("B", 7.0)


def test_content_applied_otherwise_is_known() -> None:
    settling = Settling(1.0, applied="A")
    settling.see("B", 0.0)
    settling.applied("B")
    assert settling.due_s(0.5) is None
    assert not settling.see("B", 5.0)
    assert not settling.see("A", 6.0)
    assert settling.see("A", 7.0)


def test_nothing_applied_means_everything_is_new() -> None:
    assert Settling(0.0).see("A", 0.0)


steps = st.lists(
    st.tuples(st.sampled_from("ABC"), st.floats(0, 1.5), st.sampled_from(["applied", "failed"])), max_size=40
)


@given(steps)
def test_whatever_happens_taken_content_was_stable_and_new(script: list[tuple[str, float, str]]) -> None:
    settling, now = Settling(1.0, applied="A"), 0.0
    serving, tried, since, last = "A", "A", 0.0, "A"
    for content, pause, end in script:
        now += pause
        if content != last:
            since = now
        last = content
        if settling.see(content, now):
            assert now - since >= 1.0 - 1e-6
            assert content not in (serving, tried)
            tried = content
            if end == "applied":
                settling.applied(content)
                serving = content
            else:
                settling.failed_with(content)
        elif content == serving:
            tried = serving
            assert settling.failed is None


@given(steps)
def test_content_that_stays_is_taken_in_the_end(script: list[tuple[str, float, str]]) -> None:
    settling, now = Settling(1.0, applied="A"), 0.0
    for content, pause, end in script:
        now += pause
        if settling.see(content, now):
            (settling.applied if end == "applied" else settling.failed_with)(content)
    settling.see("new", now)
    due = settling.due_s(now)
    assert due is not None
    assert settling.see("new", now + due + 1e-6)
