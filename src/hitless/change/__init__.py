"""The kernel: a change is a transaction. Knows nothing of what is changed; imports the standard library only."""

from __future__ import annotations

from hitless.change.coalesce import Coalescer
from hitless.change.deadline import Clock, Deadline, DeadlinePassed
from hitless.change.ending import is_out_of_descriptors
from hitless.change.entry import Applied, Drained, Entry
from hitless.change.events import Event, Events, Subscriber
from hitless.change.generation import MOVES, Generation, IllegalMove, State
from hitless.change.journal import Journal, JournalUnwritable
from hitless.change.outcome import ExitCode, Outcome, Refused, Status
from hitless.change.plan import Difference, Kind, Plan
from hitless.change.transaction import Change, ChangeInProgress, Transactions
from hitless.change.wire import JSON, canonical, digest

__all__ = [
    "JSON",
    "MOVES",
    "Applied",
    "Change",
    "ChangeInProgress",
    "Clock",
    "Coalescer",
    "Deadline",
    "DeadlinePassed",
    "Difference",
    "Drained",
    "Entry",
    "Event",
    "Events",
    "ExitCode",
    "Generation",
    "IllegalMove",
    "Journal",
    "JournalUnwritable",
    "Kind",
    "Outcome",
    "Plan",
    "Refused",
    "State",
    "Status",
    "Subscriber",
    "Transactions",
    "canonical",
    "digest",
    "is_out_of_descriptors",
]
