"""A systemd unit."""

from __future__ import annotations

from typing import Final

from hitless.change import Deadline
from hitless.rollout.errors import RolloutError
from hitless.rollout.hand import Hand, said
from hitless.rollout.nodes.commands import asked
from hitless.rollout.nodes.process import Gone
from hitless.rollout.settings import SystemdProcess

PROPERTIES: Final = ("LoadState", "ActiveState", "SubState", "Result", "MainPID", "ControlPID")
DOWN: Final = ("inactive", "failed")


class SystemdUnit:
    """Stopped with --no-block, so that the deadline is ours: systemctl's own waiting ends with TimeoutStopSec and SIGKILL,
    which must be longer than `deadlines.stop`, and whose having come to that is told."""

    def __init__(self, settings: SystemdProcess) -> None:
        self._settings: Final = settings

    async def stop(self, hand: Hand, deadline: Deadline) -> None:
        await self._do(hand, deadline, "stop", "--no-block")

    async def gone(self, hand: Hand, deadline: Deadline) -> Gone:
        found = await self._show(hand, deadline)
        state = found.get("ActiveState", "")
        left = [name for name in ("MainPID", "ControlPID") if found.get(name, "0") not in ("0", "")]
        is_gone = state in DOWN and not left
        why = f"{self._settings.unit} is {state} ({found.get('SubState', '')}, {found.get('Result', '')})"
        return Gone(
            is_gone, why, was_forced=is_gone and found.get("Result") in ("timeout", "watchdog", "signal")
        )

    async def kill(self, hand: Hand, deadline: Deadline) -> bool:
        if not self._settings.kill:
            return False
        await self._do(hand, deadline, "kill", "--signal=KILL")
        return True

    async def upgrade(self, hand: Hand, deadline: Deadline) -> None:
        await hand.do(self._settings.upgrade, deadline)

    async def installed(self, hand: Hand, deadline: Deadline) -> str | None:
        return await asked(hand, self._settings.installed, deadline)

    async def start(self, hand: Hand, deadline: Deadline) -> None:
        await hand.do(
            (*self._settings.systemctl, "daemon-reload"), deadline
        )  # an upgrade may bring a new unit file
        await hand.run((*self._settings.systemctl, "reset-failed", self._settings.unit), deadline)
        await self._do(hand, deadline, "start")

    def said(self, hand: Hand) -> dict[str, str]:
        systemctl, unit = " ".join(self._settings.systemctl), self._settings.unit
        upgrade = " ".join(map(hand.text, self._settings.upgrade))
        return {"stop": f"{systemctl} stop {unit}", "upgrade": upgrade, "start": f"{systemctl} start {unit}"}

    async def _do(self, hand: Hand, deadline: Deadline, *words: str) -> None:
        await hand.do((*self._settings.systemctl, *words, self._settings.unit), deadline)

    async def _show(self, hand: Hand, deadline: Deadline) -> dict[str, str]:
        command = (
            *self._settings.systemctl,
            "show",
            f"--property={','.join(PROPERTIES)}",
            self._settings.unit,
        )
        done = await hand.do(command, deadline)
        found = dict(line.partition("=")[::2] for line in done.output.splitlines() if "=" in line)
        if found.get("LoadState") == "not-found":
            raise RolloutError(
                "no_unit", f"{hand.node.name}: there is no unit {self._settings.unit}; {said(done)}"
            )
        return found
