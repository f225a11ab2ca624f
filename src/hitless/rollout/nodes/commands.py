"""Any processes, by the operator's own commands."""

from __future__ import annotations

from typing import Final

from hitless.change import Deadline
from hitless.rollout.errors import RolloutError
from hitless.rollout.hand import Hand, said
from hitless.rollout.nodes.process import Gone
from hitless.rollout.settings import CommandsProcess
from hitless.rollout.template import filled_all

STILL_THERE: Final = 1
"""What `gone` exits with while there is a process. Any other code says that nobody could tell."""


class ByCommands:
    def __init__(self, settings: CommandsProcess) -> None:
        self._settings: Final = settings

    async def stop(self, hand: Hand, deadline: Deadline) -> None:
        await hand.do(self._settings.stop, deadline)

    async def gone(self, hand: Hand, deadline: Deadline) -> Gone:
        done = await hand.run(self._settings.gone, deadline)
        if done.code not in (0, STILL_THERE):
            raise RolloutError(
                "gone_failed",
                f"{hand.node.name}: process.gone exited with {done.code}, and 0 means gone, 1 still there: {said(done)}",
            )
        return Gone(done.ok, " ".join(done.output.split()) or ("gone" if done.ok else "still there"))

    async def kill(self, hand: Hand, deadline: Deadline) -> bool:
        if not self._settings.kill:
            return False
        await hand.do(self._settings.kill, deadline)
        return True

    async def upgrade(self, hand: Hand, deadline: Deadline) -> None:
        await hand.do(self._settings.upgrade, deadline)

    async def installed(self, hand: Hand, deadline: Deadline) -> str | None:
        return await asked(hand, self._settings.installed, deadline)

    async def start(self, hand: Hand, deadline: Deadline) -> None:
        await hand.do(self._settings.start, deadline)

    def said(self, hand: Hand) -> dict[str, str]:
        actions = {
            "stop": self._settings.stop,
            "upgrade": self._settings.upgrade,
            "start": self._settings.start,
        }
        return {name: " ".join(filled_all(command, hand.values)) for name, command in actions.items()}


async def asked(hand: Hand, command: tuple[str, ...], deadline: Deadline) -> str | None:
    """The first line that a command prints; None if it is not set, fails, or prints nothing: nothing may be installed."""
    if not command:
        return None
    done = await hand.run(command, deadline)
    lines = done.output.strip().splitlines() if done.ok else []
    return lines[0].strip() if lines else None
