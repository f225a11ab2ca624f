"""A `hitless serve`, by its control socket on the node."""

from __future__ import annotations

import json
from typing import Final

from hitless.change import Deadline
from hitless.rollout.errors import RolloutError
from hitless.rollout.hand import Hand, said
from hitless.rollout.nodes.commands import asked
from hitless.rollout.nodes.process import Gone
from hitless.rollout.settings import ServeProcess

NO_SUCH_SERVICE: Final = 6


class ByServe:
    """Its own stop finishes what is in flight; whether it cut any is its exit code."""

    def __init__(self, settings: ServeProcess) -> None:
        self._settings: Final = settings

    async def stop(self, hand: Hand, deadline: Deadline) -> None:
        timeout = f"{max(1.0, deadline.remaining()):.0f}"
        command = (*self._settings.hitless, "stop", self._settings.name, "--timeout", timeout, "--json")
        done = await hand.run(command, deadline, env=self._settings.environment)
        if done.code not in (0, NO_SUCH_SERVICE):
            raise RolloutError(
                "serve_stop", f"{hand.node.name}: {self._settings.name} did not end well: {said(done)}"
            )

    async def gone(self, hand: Hand, deadline: Deadline) -> Gone:
        command = (*self._settings.hitless, "services", "--json")
        done = await hand.do(command, deadline, env=self._settings.environment)
        rows = json.loads(done.output)
        name = hand.text(self._settings.name)
        is_alive = any(row["name"] == name for row in rows)
        return Gone(
            not is_alive, f"{name} {'answers' if is_alive else 'does not answer'} on its control socket"
        )

    async def kill(self, hand: Hand, deadline: Deadline) -> bool:  # noqa: ARG002
        return False  # it cuts what is left at its own drain deadline

    async def upgrade(self, hand: Hand, deadline: Deadline) -> None:
        await hand.do(self._settings.upgrade, deadline, env=self._settings.environment)

    async def installed(self, hand: Hand, deadline: Deadline) -> str | None:
        return await asked(hand, self._settings.installed, deadline)

    async def start(self, hand: Hand, deadline: Deadline) -> None:
        await hand.do(self._settings.start, deadline, env=self._settings.environment)

    def said(self, hand: Hand) -> dict[str, str]:
        return {
            "stop": f"hitless stop {hand.text(self._settings.name)}",
            "upgrade": " ".join(map(hand.text, self._settings.upgrade)),
            "start": " ".join(map(hand.text, self._settings.start)),
        }
