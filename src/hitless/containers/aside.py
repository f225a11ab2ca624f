"""The restart policy, set aside while a container is stopped, and restored afterwards.

Without that, a signal other than the container's stop signal has the engine start it again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from hitless.change import Deadline
from hitless.containers.container import Container, RestartPolicy
from hitless.containers.engine import Engine
from hitless.containers.errors import EngineRefused, EngineUnreachable, NoSuchContainer
from hitless.containers.hub import RECONNECT_S, Watch
from hitless.containers.intents import Intents

RESTORE_S: Final = 30.0


class PolicyAside:
    """Of one container; `put` and `restore` once each. `ready` are commands that let work come again (`readiness`), `name` is
    what it is written down under."""

    def __init__(
        self,
        engine: Engine,
        container: Container,
        intents: Intents,
        *,
        ready: list[list[str]] | None = None,
        name: str = "",
    ) -> None:
        self._name: Final = name or container.name
        self._engine: Final = engine
        self._container: Final = container
        self._intents: Final = intents
        self._ready: Final = ready or []
        self._is_put = False

    async def put(self) -> str:
        """Set it aside; returns a note for people if the engine cannot.

        Raises:
            ContainersError: it could not be written down first.
            EngineUnreachable: the engine does not answer.
        """
        policy = self._container.policy
        sets = policy.restarts and self._engine.dialect.can_set_policy
        if sets or self._ready:
            self._intents.check(self._name, self._container.id)
            self._write_down()
        if not sets:
            return ""
        self._is_put = True
        try:
            await self._engine.set_policy(self._container.id, RestartPolicy())
        except EngineRefused as error:
            self._is_put = False
            self._forget()
            return f"its restart policy {policy} could not be set aside: {error}"
        return ""

    def signalling(self) -> None:
        """Write down that a signal is about to be sent: from now on the container may end at any time, whoever else goes on
        or does not."""
        name = self._name
        if self._intents.is_anothers(name, self._container.id):
            return
        if (data := self._intents.get(name)) is not None:
            self._intents.put(name, {**data, "signalled": {self._container.id: self._container.started_at}})

    async def restore(self) -> None:
        """Put it back. If the engine does not answer, the next Hitless does it (`restored`)."""
        deadline = Deadline.after(RESTORE_S)
        watch = Watch()
        while self._is_put and not deadline.expired:
            try:
                await self._engine.set_policy(self._container.id, self._container.policy)
            except EngineUnreachable:
                await watch.wait(RECONNECT_S[-1])
                continue
            except EngineRefused:
                pass  # removed, or being removed: it needs none
            self._is_put = False
        if not self._is_put:
            self._forget()

    def _write_down(self) -> None:
        self._intents.put(self._name, {**stopping(self._container), "ready": self._ready})

    def _forget(self) -> None:
        if not self._intents.is_anothers(self._name, self._container.id):
            self._intents.remove(self._name)


class PolicyHeld(PolicyAside):
    """For a restart or a replacement, which has written down more, and decides itself when the policy comes back."""

    async def restore(self) -> None:
        """Not yet."""

    async def release(self) -> bool:
        """Put it back now; False if the engine does not answer, and it is left to the next Hitless."""
        await super().restore()
        return not self._is_put

    def _write_down(self) -> None:
        """It is."""

    def _forget(self) -> None:
        """Not yet."""


def stopping(container: Container) -> dict[str, Any]:
    """What is written down before the policy is changed."""
    return {"what": "stop", "id": container.id, "policy": container.policy.to_json()}


async def restored(engine: Engine, intents: Intents, name: str, intent: Any) -> None:
    """Restore what a Hitless that was killed had set aside."""
    policy = RestartPolicy.from_json(intent["policy"])
    with suppress(NoSuchContainer):
        if policy.restarts and engine.dialect.can_set_policy:
            await engine.set_policy(str(intent["id"]), policy)
    intents.remove(name)
