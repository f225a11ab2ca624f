from __future__ import annotations

import asyncio
import threading
import time
from unittest import mock

import pytest
from tests.change.fakes import FakeChange, Fault, World

from hitless.change import (
    ChangeInProgress,
    Event,
    Events,
    ExitCode,
    Journal,
    JournalUnwritable,
    Outcome,
    Refused,
    Status,
    Transactions,
)


async def run(transactions: Transactions, change: FakeChange, deadline_s: float = 5.0) -> Outcome:
    return await transactions.run(change, requested_by="tests", deadline_s=deadline_s)


def names(events: Events) -> list[str]:
    return [event.name for event in events.recent(100)]


async def test_a_change_that_goes_well_is_applied(
    transactions: Transactions, journal: Journal, events: Events
) -> None:
    world = World()
    outcome = await run(transactions, FakeChange(world, 2))
    assert (outcome.status, outcome.generation, outcome.reason, outcome.exit_code) == (
        Status.APPLIED,
        2,
        None,
        0,
    )
    assert world.steps == ["plan", "prepare", "commit"]
    assert (world.serving, transactions.generation) == (2, 2)
    assert names(events) == ["change.started", "change.prepared", "change.committed"]
    (entry,) = journal.entries()
    assert (entry.id, entry.status, entry.requested_by) == (outcome.change, "applied", "tests")
    assert set(entry.timings) == {"plan", "prepare", "commit"}
    applied = journal.applied()
    assert applied is not None
    assert applied.settings == {"generation": 2}


@pytest.mark.parametrize(
    ("phase", "fault", "reason", "code"),
    [
        ("plan", "refuse", "bad_config", ExitCode.INVALID),
        ("plan", "raise", "internal_error", ExitCode.REJECTED),
        ("prepare", "refuse", "not_ready", ExitCode.REJECTED),
        ("prepare", "raise", "internal_error", ExitCode.REJECTED),
        ("prepare", "hang", "deadline_passed", ExitCode.REJECTED),
    ],
)
async def test_what_fails_before_the_commit_is_rejected_and_the_old_notices_nothing(
    transactions: Transactions,
    journal: Journal,
    events: Events,
    phase: str,
    fault: Fault,
    reason: str,
    code: int,
) -> None:
    world = World()
    outcome = await run(transactions, FakeChange(world, 2, {phase: fault}), deadline_s=0.05)
    assert (outcome.status, outcome.generation, outcome.reason) == (Status.REJECTED, 1, reason)
    assert outcome.exit_code == code
    assert world.steps == (["plan"] if phase == "plan" else ["plan", "prepare", "discard"])
    assert (set(world.seen), world.built, transactions.generation) == ({1}, set(), 1)
    assert names(events)[-1] == "change.rejected"
    assert events.recent(1)[0].fields["reason"] == reason
    (entry,) = journal.entries()
    assert (entry.status, entry.reason, entry.message) == ("rejected", reason, outcome.message)


async def test_a_passed_deadline_says_what_did_not_happen(transactions: Transactions) -> None:
    outcome = await run(transactions, FakeChange(World(), 2, {"prepare": "hang"}), deadline_s=0.05)
    assert outcome.message == "generation 2 did not become ready within 0.05 s"


async def test_an_unforeseen_error_comes_with_its_traceback(transactions: Transactions) -> None:
    outcome = await run(transactions, FakeChange(World(), 2, {"prepare": "raise"}))
    assert outcome.message == "unexpected RuntimeError: prepare broke"
    assert "Traceback" in outcome.detail
    assert "fakes.py" in outcome.detail


async def test_a_commit_that_fails_half_way_is_undone(
    transactions: Transactions, journal: Journal, events: Events
) -> None:
    world = World()
    outcome = await run(transactions, FakeChange(world, 2, {"commit": "raise"}))
    assert (outcome.status, outcome.generation, outcome.exit_code) == (
        Status.ROLLED_BACK,
        1,
        ExitCode.REJECTED,
    )
    assert world.steps == ["plan", "prepare", "commit", "undo", "discard"]
    assert (world.serving, world.built, transactions.generation) == (1, set(), 1)
    assert names(events)[-1] == "change.rolled_back"
    assert journal.entries()[0].status == "rolled_back"
    assert journal.applied() is None


async def test_a_commit_that_does_not_end_is_undone(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hitless.change.transaction.COMMIT_TIMEOUT_S", 0.05)
    world = World()
    outcome = await run(transactions, FakeChange(world, 2, {"commit": "hang"}))
    assert (outcome.status, outcome.reason) == (Status.ROLLED_BACK, "deadline_passed")
    assert world.steps[-2:] == ["undo", "discard"]


async def test_an_undo_that_fails_is_told_with_both_reasons(transactions: Transactions) -> None:
    outcome = await run(transactions, FakeChange(World(), 2, {"commit": "refuse", "undo": "raise"}))
    assert (outcome.status, outcome.reason) == (Status.ROLLED_BACK, "undo_failed")
    assert (
        outcome.message
        == "the commit was refused; and it could not be undone: unexpected RuntimeError: undo broke"
    )


async def test_a_discard_that_fails_is_logged_and_changes_no_outcome(
    transactions: Transactions, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = await run(transactions, FakeChange(World(), 2, {"prepare": "refuse", "discard": "raise"}))
    assert outcome.reason == "not_ready"
    assert "discard broke" in caplog.text


async def test_a_plan_that_changes_nothing_ends_as_unchanged(
    transactions: Transactions, events: Events
) -> None:
    world = World()
    outcome = await run(transactions, FakeChange(world, 2, changes_nothing=True))
    assert (outcome.status, outcome.generation, outcome.exit_code) == (Status.UNCHANGED, 1, 0)
    assert world.steps == ["plan"]
    assert names(events) == ["change.started", "change.unchanged"]


async def test_a_second_change_is_refused_while_one_goes_on(
    transactions: Transactions, journal: Journal
) -> None:
    entered = asyncio.Event()
    first = FakeChange(
        World(), 2, {"prepare": "hang"}, on=lambda phase: entered.set() if phase == "prepare" else None
    )
    task = asyncio.create_task(run(transactions, first))
    await entered.wait()
    assert transactions.busy == "a reload (asked for by tests)"
    with pytest.raises(ChangeInProgress, match=r"^a reload \(asked for by tests\) is in progress; try again"):
        await run(transactions, FakeChange(World(), 3))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transactions.busy is None
    assert len(journal.entries()) == 1


async def test_who_waits_until_it_is_idle_gets_the_next_turn(transactions: Transactions) -> None:
    world = World()

    async def in_turn(to: int) -> Outcome:
        await transactions.idle()
        return await run(transactions, FakeChange(world, to))

    outcomes = await asyncio.gather(*(in_turn(number) for number in range(2, 12)))
    assert [outcome.status for outcome in outcomes] == [Status.APPLIED] * 10


async def test_a_cancelled_request_takes_the_change_back(
    transactions: Transactions, journal: Journal
) -> None:
    entered = asyncio.Event()
    world = World()
    change = FakeChange(
        world, 2, {"prepare": "hang"}, on=lambda phase: entered.set() if phase == "prepare" else None
    )
    task = asyncio.create_task(run(transactions, change))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.steps == ["plan", "prepare", "discard"]
    assert (world.serving, world.built) == (1, set())
    assert (journal.entries()[0].status, journal.entries()[0].reason) == ("rejected", "cancelled")


async def test_a_request_that_is_cancelled_during_the_commit_sees_it_through(
    transactions: Transactions, journal: Journal
) -> None:
    entered = asyncio.Event()
    world = World()
    change = FakeChange(
        world, 2, {"commit": "late"}, on=lambda phase: entered.set() if phase == "commit" else None
    )
    task = asyncio.create_task(run(transactions, change))
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (world.serving, transactions.generation) == (2, 2)
    assert journal.entries()[0].status == "applied"


async def test_a_prepare_that_will_not_be_cancelled_is_left_behind(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hitless.change.ending.CANCEL_GRACE_S", 0.05)
    release = asyncio.Event()

    class Stubborn(FakeChange):
        async def prepare(self, plan: object, deadline: object) -> int:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return 2

    outcome = await run(transactions, Stubborn(World(), 2), deadline_s=0.05)
    assert outcome.reason == "deadline_passed"
    assert "left behind" in caplog.text
    release.set()


async def test_nothing_moves_when_the_journal_cannot_be_written(
    transactions: Transactions, journal: Journal, events: Events
) -> None:
    world = World()
    with mock.patch.object(journal, "begin", side_effect=JournalUnwritable("the disk is full")):
        outcome = await run(transactions, FakeChange(world, 2))
    assert (outcome.status, outcome.reason, outcome.change) == (Status.REJECTED, "journal_unwritable", None)
    assert world.steps == ["plan"]


async def test_a_disk_that_hangs_does_not_hang_the_service(
    transactions: Transactions, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hitless.change.scribe.JOURNAL_TIMEOUT_S", 0.05)
    release = threading.Event()
    begin = journal.begin

    def hang(*args: object) -> int:
        release.wait(10)
        return begin(*args)  # type: ignore[arg-type]

    world = World()
    with mock.patch.object(journal, "begin", hang):
        outcome = await run(transactions, FakeChange(world, 2))
        assert (outcome.reason, world.steps) == ("journal_unwritable", ["plan"])
        assert "did not answer within 0.05 s" in outcome.message
        release.set()
    monkeypatch.undo()
    outcome = await run(transactions, FakeChange(world, 2))
    assert outcome.status is Status.APPLIED
    # The row that came too late is not left open for ever.
    assert [entry.status for entry in journal.entries()] == ["applied", "rejected"]


async def test_an_end_that_cannot_be_written_takes_nothing_back_and_is_written_later(
    transactions: Transactions, journal: Journal, events: Events
) -> None:
    world = World()
    with mock.patch.object(journal, "finish", side_effect=JournalUnwritable("the disk is full")):
        outcome = await run(transactions, FakeChange(world, 2))
        assert outcome.status is Status.APPLIED
        assert names(events)[-1] == "journal.unwritable"
        assert journal.entries()[0].status == "open"
    await transactions.drained(outcome.change, finished=1, handed_over=2, cut=3, seconds=4.0)
    (entry,) = journal.entries()
    assert entry.status == "applied"
    assert entry.drained is not None
    assert (entry.drained.finished, entry.drained.handed_over, entry.drained.cut) == (1, 2, 3)
    assert names(events)[-1] == "change.drained"


async def test_a_subscriber_that_fails_fails_no_change(transactions: Transactions, events: Events) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("broken metrics")

    events.subscribe(broken)
    assert (await run(transactions, FakeChange(World(), 2))).status is Status.APPLIED


async def test_a_refusal_carries_label_sentence_and_detail() -> None:
    refusal = Refused("no_such_app", "the module has no app", "a traceback", invalid=True)
    assert (refusal.reason, str(refusal), refusal.detail, refusal.invalid) == (
        "no_such_app",
        "the module has no app",
        "a traceback",
        True,
    )
    with pytest.raises(ValueError, match="label"):
        Refused("No such app", "x")


async def test_a_change_can_be_given_up_before_its_commit_and_not_after(transactions: Transactions) -> None:
    world = World()

    def give_up(phase: str) -> None:
        if phase in ("prepare", "commit"):
            transactions.give_up()

    outcome = await run(transactions, FakeChange(world, 2, {"prepare": "hang"}, on=give_up))
    assert (outcome.status, outcome.reason, world.steps[-1]) == (Status.REJECTED, "cancelled", "discard")
    only_commit = FakeChange(world, 2, on=lambda phase: transactions.give_up() if phase == "commit" else None)
    assert (await run(transactions, only_commit)).status is Status.APPLIED
    transactions.give_up()


async def test_a_slow_disk_takes_nothing_from_the_time_to_prepare(
    transactions: Transactions, journal: Journal
) -> None:
    begin = journal.begin

    def slowly(*args: object) -> int:
        time.sleep(0.3)
        return begin(*args)  # type: ignore[arg-type]

    with mock.patch.object(journal, "begin", slowly):
        assert (await run(transactions, FakeChange(World(), 2), deadline_s=0.2)).status is Status.APPLIED


async def test_an_entry_that_can_never_be_written_stops_no_others(
    transactions: Transactions, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    with mock.patch.object(journal, "finish", side_effect=TypeError("not JSON")):
        assert (await run(transactions, FakeChange(World(), 2))).status is Status.APPLIED
    assert "an entry of the journal was lost" in caplog.text
    assert (await run(transactions, FakeChange(World(), 3))).status is Status.APPLIED
    assert journal.entries()[0].status == "applied"
