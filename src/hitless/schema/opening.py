"""Which phases a service has: hitless's own migrations, or another tool's."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from hitless.schema.errors import Invalid
from hitless.schema.listener import Listener
from hitless.schema.phases import Phases
from hitless.schema.settings import DbSettings
from hitless.schema.tool_phases import ToolPhases

AnyPhases: TypeAlias = Phases | ToolPhases


def open_phases(settings: DbSettings, folder: Path, listener: Listener | None = None) -> AnyPhases:
    """The phases that the settings name; relative paths are those of `folder`."""
    if settings.adapter == "hitless":
        return Phases(settings, folder, listener)
    return ToolPhases(settings, folder, listener)


def own(phases: AnyPhases) -> Phases:
    """Raises Invalid if the migrations are another tool's, and so cannot be read."""
    if isinstance(phases, ToolPhases):
        raise Invalid(
            "not_ours",
            f"hitless does not see into the migrations of {phases.settings.adapter}; use its own tools",
        )
    return phases
