"""A container, by `hitless containers` on the node: it knows how containers end without being cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from hitless.change import Deadline
from hitless.rollout.errors import RolloutError
from hitless.rollout.hand import Hand, said
from hitless.rollout.nodes.process import Gone
from hitless.rollout.settings import ContainerProcess

ALIVE: Final = ("running", "paused", "restarting", "stopping")
MISSING: Final = 6
"""What `hitless containers` exits with when there is no such container."""


class ByContainer:
    def __init__(self, settings: ContainerProcess) -> None:
        self._settings: Final = settings

    async def stop(self, hand: Hand, deadline: Deadline) -> None:
        """By the container's own sequence of signals. One that was cut, or lives on, is told as it is."""
        done = await hand.run(self._command("stop", "--json"), deadline)
        if done.code not in (0, MISSING):
            raise RolloutError(
                "container_stop", f"{hand.node.name}: {self._settings.name} did not end well: {said(done)}"
            )

    async def gone(self, hand: Hand, deadline: Deadline) -> Gone:
        found = await self._look(hand, deadline)
        state = str(found.get("state", "missing"))
        return Gone(state not in ALIVE, f"the container {self._settings.name} is {state}")

    async def kill(self, hand: Hand, deadline: Deadline) -> bool:  # noqa: ARG002
        return False  # its own sequence says whether and when it is killed

    async def upgrade(self, hand: Hand, deadline: Deadline) -> None:
        """A container that does not run is replaced by one that does not run."""
        if self._settings.pull:
            await hand.do(self._settings.pull, deadline)
        await hand.do(self._command("upgrade", "--image", self._settings.image, "--json"), deadline)

    async def installed(self, hand: Hand, deadline: Deadline) -> str | None:
        """The image's name is compared with that of the hand's release; Podman puts a registry in front of it."""
        image, wanted = (await self._look(hand, deadline)).get("image"), hand.text(self._settings.image)
        is_new = image is not None and (image == wanted or str(image).endswith(f"/{wanted}"))
        if is_new:
            return hand.values.get("version", hand.values["release"])
        return None if image is None else str(image)

    async def start(self, hand: Hand, deadline: Deadline) -> None:
        await hand.do(self._command("restart", "--json"), deadline)

    def said(self, hand: Hand) -> dict[str, str]:
        words = {
            "stop": ("stop",),
            "upgrade": ("upgrade", "--image", hand.text(self._settings.image)),
            "start": ("restart",),
        }
        return {name: " ".join(self._command(*each)) for name, each in words.items()}

    def _command(self, *words: str) -> tuple[str, ...]:
        verb, *rest = words
        return (
            *self._settings.hitless,
            "containers",
            verb,
            self._settings.name,
            *rest,
            *self._settings.options,
        )

    async def _look(self, hand: Hand, deadline: Deadline) -> Mapping[str, Any]:
        done = await hand.run(self._command("ps", "--json"), deadline)
        if done.code == MISSING:
            return {}
        if not done.ok:
            raise RolloutError(
                "container_unknown",
                f"{hand.node.name}: nobody says how {self._settings.name} is: {said(done)}",
            )
        rows = json.loads(done.output)["containers"]
        return next((row for row in rows if row["container"] == self._settings.name), {})
