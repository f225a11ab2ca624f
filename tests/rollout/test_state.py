"""Which step of a node comes next is decided by one table, from what is seen."""

from __future__ import annotations

from itertools import product

import pytest

from hitless.rollout.plan import OF_A_NODE
from hitless.rollout.state import Hints, Seen, Traffic, is_behind, next_kind

WITH = Traffic(is_ready=True, is_up=True, sessions=3)
DOWN = Traffic(is_ready=True, is_up=False, sessions=0)
DRAINING = Traffic(is_ready=False, is_up=False, sessions=2)
IDLE = Traffic(is_ready=False, is_up=False, sessions=0)
BEGUN, FAILED, SOAKED = Hints(start_begun=True), Hints(probes_failed=True), Hints(has_soaked=True)


def seen(
    release: str | None, traffic: Traffic | None, *, gone: bool = False, installed: str | None = None
) -> Seen:
    return Seen("n1", gone, release, installed, traffic)


@pytest.mark.parametrize(
    ("found", "hints", "expected"),
    [
        (seen("1", WITH), Hints(), "drain"),
        (seen("1", DOWN), Hints(), "drain"),
        (seen("1", DRAINING), Hints(), "drain"),
        (seen("1", IDLE), Hints(), "stop"),
        (seen("1", None), Hints(), "stop"),
        (seen(None, IDLE), Hints(), "stop"),
        (seen(None, IDLE), BEGUN, "probe"),
        (seen(None, WITH), BEGUN, "drain"),
        (seen(None, None, gone=True), Hints(), "upgrade"),
        (seen(None, IDLE, gone=True, installed="1"), Hints(), "upgrade"),
        (seen(None, IDLE, gone=True, installed="2"), Hints(), "start"),
        (seen("2", IDLE), Hints(), "probe"),
        (seen("2", IDLE), FAILED, "stop"),
        (seen("2", IDLE), SOAKED, "probe"),
        (seen("2", WITH), Hints(), "soak"),
        (seen("2", WITH), SOAKED, None),
        (seen("2", None), Hints(), "probe"),
        (seen("2", None), SOAKED, None),
    ],
)
def test_the_next_step_follows_from_what_is_seen(found: Seen, hints: Hints, expected: str | None) -> None:
    assert next_kind(found, "2", hints) == expected


def test_a_node_with_traffic_or_work_is_never_stopped_and_one_that_runs_is_never_upgraded() -> None:
    hints = [Hints(*each) for each in product((False, True), repeat=3)]
    traffic = [None, WITH, DOWN, DRAINING, IDLE]
    for release, work, gone, hint in product((None, "1", "2"), traffic, (False, True), hints):
        found = seen(None if gone else release, work, gone=gone)
        upcoming = next_kind(found, "2", hint)
        if upcoming == "stop":
            assert work is None or work.is_idle
        if upcoming in ("upgrade", "start"):
            assert gone


def test_what_comes_before_the_next_step_is_done_and_nothing_else() -> None:
    for number, upcoming in enumerate(OF_A_NODE):
        assert [kind for kind in OF_A_NODE if is_behind(kind, upcoming)] == list(OF_A_NODE[:number])
    assert all(is_behind(kind, None) for kind in OF_A_NODE)
