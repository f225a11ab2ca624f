"""From the settings to what acts by them."""

from __future__ import annotations

from hitless.rollout.nodes.commands import ByCommands
from hitless.rollout.nodes.container import ByContainer
from hitless.rollout.nodes.process import Process
from hitless.rollout.nodes.serve import ByServe
from hitless.rollout.nodes.systemd import SystemdUnit
from hitless.rollout.settings import CommandsProcess, ProcessSettings, ServeProcess, SystemdProcess


def process_of(settings: ProcessSettings) -> Process:
    if isinstance(settings, CommandsProcess):
        return ByCommands(settings)
    if isinstance(settings, SystemdProcess):
        return SystemdUnit(settings)
    if isinstance(settings, ServeProcess):
        return ByServe(settings)
    return ByContainer(settings)
