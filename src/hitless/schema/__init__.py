"""Schema changes of a fleet on one database: expand, migrate, contract, each gated, recorded and able to be run again."""

from __future__ import annotations

from hitless.schema.backfill import Backfill
from hitless.schema.dual_write import DualWrite
from hitless.schema.errors import (
    Busy,
    Invalid,
    Late,
    LeaseLost,
    LockTimeout,
    Rejected,
    SchemaError,
    Unreachable,
)
from hitless.schema.heartbeat import Heartbeat
from hitless.schema.listener import Listener, Progress
from hitless.schema.opening import AnyPhases, open_phases
from hitless.schema.phases import Phases
from hitless.schema.report import Report, State
from hitless.schema.settings import DbSettings, read_settings
from hitless.schema.tool_phases import ToolPhases
from hitless.schema.usage import Gate

__all__ = [
    "AnyPhases",
    "Backfill",
    "Busy",
    "DbSettings",
    "DualWrite",
    "Gate",
    "Heartbeat",
    "Invalid",
    "Late",
    "LeaseLost",
    "Listener",
    "LockTimeout",
    "Phases",
    "Progress",
    "Rejected",
    "Report",
    "SchemaError",
    "State",
    "ToolPhases",
    "Unreachable",
    "open_phases",
    "read_settings",
]
