"""Whatever fails, and whenever: exactly one generation serves, and what was built for nothing is thrown away once."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.change.fakes import FakeChange, World

from hitless.change import Events, Journal, JournalUnwritable, Outcome, Status, Transactions

FULL = JournalUnwritable("the disk is full")
PHASES = ("plan", "prepare", "commit", "undo", "discard")

faults = st.fixed_dictionaries(
    {},
    optional={
        "plan": st.sampled_from(["refuse", "raise"]),
        "prepare": st.sampled_from(["refuse", "raise", "late", "hang", "ignore_cancel"]),
        "commit": st.sampled_from(["refuse", "raise", "late"]),
        "discard": st.sampled_from(["refuse", "raise"]),
    },
)


class ChangesThatFail(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.events = Events()
        self.world = World()
        self.attempts = 0
        self.unrecorded = 0
        self.applied = 1
        self.expected: list[str] = []
        self._open(1)

    def _open(self, generation: int) -> None:
        self.journal = Journal(Path(self.folder.name) / "journal.sqlite")

        async def make() -> Transactions:
            return Transactions(self.journal, self.events, generation=generation)

        self.transactions = self.loop.run_until_complete(make())

    @rule(
        faults=faults,
        cancel_in=st.sampled_from([None, None, *PHASES]),
        cancels=st.integers(1, 3),
        begin_fails=st.booleans(),
        finish_fails=st.booleans(),
        changes_nothing=st.sampled_from([False, False, False, True]),
    )
    def change(
        self,
        faults: Any,
        cancel_in: str | None,
        cancels: int,
        begin_fails: bool,
        finish_fails: bool,
        changes_nothing: bool,
    ) -> None:
        before, to = self.world.serving, self.applied + self.attempts + 1
        self.attempts += 1
        self.world.steps.clear()
        self.world.seen.clear()
        outcome = self.loop.run_until_complete(
            self._run(to, faults, cancel_in, cancels, begin_fails, finish_fails, changes_nothing)
        )
        steps = self.world.steps
        after = self.world.serving
        assert after in (before, to)
        assert steps.count("discard") == ("prepare" in steps and after != to)
        assert steps.count("undo") == ("commit" in steps and after != to)
        assert set(self.world.seen) <= {before, to}
        if "commit" not in steps:
            assert set(self.world.seen) == {before}
        if outcome is not None:
            assert outcome.generation == after
            assert (outcome.status is Status.APPLIED) == (after == to)
        assert (self.world.built, self.transactions.busy) == (set(), None)
        if begin_fails:
            assert steps == ["plan"]
            self.unrecorded += 1
        else:
            self.expected.append("applied" if after == to else outcome.status.value if outcome else "")

    async def _run(
        self,
        to: int,
        faults: Any,
        cancel_in: str | None,
        cancels: int,
        begin_fails: bool,
        finish_fails: bool,
        changes_nothing: bool,
    ) -> Outcome | None:
        def cancel(phase: str) -> None:
            if phase == cancel_in:
                for _ in range(cancels):
                    task.cancel()

        change = FakeChange(self.world, to, faults, on=cancel, changes_nothing=changes_nothing)
        rows, finish = len(self.journal.entries(10_000)), self.journal.finish

        def finish_older(id: int, outcome: Outcome, timings: Mapping[str, float]) -> None:
            """The row of this change cannot be written when it ends; it can be when the next one begins."""
            if id > rows:
                raise FULL
            finish(id, outcome, timings)

        with contextlib.ExitStack() as stack:
            if begin_fails:
                stack.enter_context(mock.patch.object(self.journal, "begin", side_effect=FULL))
            if finish_fails:
                stack.enter_context(mock.patch.object(self.journal, "finish", finish_older))
            task = asyncio.ensure_future(self.transactions.run(change, requested_by="x", deadline_s=0.02))
            try:
                return await task
            except asyncio.CancelledError:
                return None

    @rule()
    def restart(self) -> None:
        """What could not be written before is written now."""
        self.transactions.close()
        self.journal.close()
        self._open(self.world.serving)

    @rule()
    def look_after_a_restart(self) -> None:
        self.restart()
        statuses = [entry.status for entry in reversed(self.journal.entries(10_000))]
        assert statuses == [told or found for told, found in zip(self.expected, statuses, strict=True)]
        assert "open" not in statuses

    @invariant()
    def exactly_one_serves_and_everybody_knows_which(self) -> None:
        if hasattr(self, "transactions"):
            assert self.transactions.generation == self.world.serving

    @invariant()
    def every_attempt_has_a_row(self) -> None:
        if hasattr(self, "transactions"):
            entries = self.journal.entries(10_000)
            assert len(entries) == self.attempts - self.unrecorded
            for entry, status in zip(reversed(entries), self.expected, strict=True):
                assert entry.status in (status or entry.status, "open")

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.transactions.close()
            self.journal.close()
            self.loop.close()
            self.folder.cleanup()


ChangesThatFail.TestCase.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
test_changes_that_fail = ChangesThatFail.TestCase
