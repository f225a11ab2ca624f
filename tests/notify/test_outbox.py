"""A sink that is down costs notices, counted and logged; never time, and never the notices of other sinks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.notify.notices import PATIENCE_S, Box, notice, opened

from hitless.change import Deadline, Events
from hitless.notify import Notifier, Outbox, Retries, SinkFailed

Make = Callable[..., Outbox]


@pytest.fixture
def outbox() -> Iterator[Make]:
    made: list[Outbox] = []

    def make(sink: Box, limit: int = 1000) -> Outbox:
        made.append(Outbox(sink, limit=limit))
        return made[-1]

    yield make
    for each in made:
        each.sink.open.set()  # type: ignore[attr-defined]
        each.close(Deadline.after(PATIENCE_S))


def test_the_oldest_are_dropped_when_the_queue_is_full(
    outbox: Make, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box()
    out = outbox(box, limit=2)
    out.put(notice(1))
    assert box.busy.wait(PATIENCE_S)
    for change in (2, 3, 4, 5):
        out.put(notice(change))
    assert (out.counts.dropped, out.counts.waiting) == (2, 3)
    box.open.set()
    assert [box.take().change for _ in range(3)] == [1, 4, 5]
    assert "box: service.reload.start of change 2 was dropped (1 so far)" in caplog.text
    out.close(Deadline.after(PATIENCE_S))
    assert (out.counts.delivered, out.counts.waiting) == (3, 0)


def test_a_notice_is_tried_again_and_its_id_stays(outbox: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    box = opened(SinkFailed("is down"), SinkFailed("is still down"))
    out = outbox(box)
    sent = notice()
    out.put(sent)
    assert box.take() == sent
    out.close(Deadline.after(PATIENCE_S))
    assert (box.attempts, out.counts.delivered, out.counts.failed) == (3, 1, 0)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("hitless.notify")] == [
        "box: is down",
        "box takes notices again",
    ]


def test_after_the_last_attempt_it_is_given_up_and_the_next_is_tried(
    outbox: Make, caplog: pytest.LogCaptureFixture
) -> None:
    box = opened(*[SinkFailed("is down")] * 3)
    out = outbox(box)
    out.put(notice(1))
    out.put(notice(2))
    assert box.take().change == 2
    assert "box: service.reload.start of change 1 was not delivered: is down" in caplog.text
    out.close(Deadline.after(PATIENCE_S))
    assert (out.counts.delivered, out.counts.failed, out.counts.trouble) == (1, 1, "")


@pytest.mark.parametrize("trouble", [SinkFailed("", is_final=True), RuntimeError("a bug")])
def test_what_would_never_be_taken_is_tried_once(outbox: Make, trouble: Exception) -> None:
    box = opened(trouble)
    out = outbox(box)
    out.put(notice(1))
    out.put(notice(2))
    assert box.take().change == 2
    assert box.attempts == 2
    assert out.counts.failed == 1


def test_at_the_end_each_is_tried_once_without_a_pause(outbox: Make) -> None:
    box = Box(retries=Retries(attempts=9, first_s=3600.0), troubles=[SinkFailed("is down")])
    out = outbox(box)
    out.put(notice(1))
    out.put(notice(2))
    assert box.busy.wait(PATIENCE_S)
    box.open.set()
    out.close(Deadline.after(PATIENCE_S))
    assert box.take().change == 2
    assert (box.attempts, out.counts.delivered, out.counts.failed) == (2, 1, 1)


def test_what_is_left_at_the_deadline_is_dropped(outbox: Make) -> None:
    box = Box()
    out = outbox(box)
    for change in (1, 2, 3):
        out.put(notice(change))
    assert box.busy.wait(PATIENCE_S)
    out.close(Deadline.after(0.01))
    out.put(notice(4))
    assert (out.counts.delivered, out.counts.dropped) == (0, 3)


def test_pauses_grow_and_are_bounded() -> None:
    retries = Retries(first_s=1.0, longest_s=30.0)
    for failures, longest in ((1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (10_000, 30.0)):
        assert longest / 2 <= retries.pause_s(failures) <= longest


def test_a_sink_that_exits_costs_its_notice_and_not_those_that_follow(outbox: Make) -> None:
    box = opened(SystemExit("enough"))
    out = outbox(box)
    out.put(notice(1))
    out.put(notice(2))
    assert box.take().change == 2
    out.close(Deadline.after(PATIENCE_S))
    assert (out.counts.delivered, out.counts.failed) == (1, 1)


class Hanging(Box):
    """Its `send` ends when it is broken off."""

    def interrupt(self) -> None:
        self.troubles[:] = [SinkFailed("was broken off")]
        self.open.set()


def test_a_sink_that_is_still_at_work_at_the_deadline_is_broken_off_and_counted(outbox: Make) -> None:
    box = Hanging()
    out = outbox(box)
    out.put(notice(1))
    assert box.busy.wait(PATIENCE_S)
    out.close(Deadline.after(0.01))
    assert (out.counts.failed, out.counts.waiting, out.counts.trouble) == (1, 0, "was broken off")


def test_at_the_end_a_sink_that_hangs_does_not_take_the_time_of_one_that_pauses() -> None:
    hangs = Box()
    pauses = Box(retries=Retries(attempts=2, first_s=3600.0), troubles=[SinkFailed("is down")])
    pauses.open.set()
    events = Events()
    notifier = Notifier(events, [hangs, pauses], service="volumes")
    for _ in range(2):
        events.emit("change.started", kind="reload", from_generation=1, to_generation=2)
    assert hangs.busy.wait(PATIENCE_S)
    assert pauses.busy.wait(PATIENCE_S)
    notifier.close(3.0)
    assert (notifier.counts[1][1].delivered, notifier.counts[1][1].dropped) == (1, 0)
    hangs.open.set()
