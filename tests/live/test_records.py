"""What the program's log has of a change."""

from __future__ import annotations

import logging

import pytest

from hitless.change import Event
from hitless.live.records import write_line


def test_figures_in_the_log_have_no_more_places_than_anybody_reads(caplog: pytest.LogCaptureFixture) -> None:
    event = Event(
        0.0, "change.rejected", {"change": 3, "timings": {"plan": 0.00042168699928879505}, "detail": "x"}
    )
    write_line(logging.getLogger("test"), event)
    assert caplog.messages == ["change rejected change=3 timings={'plan': 0.0}"]
