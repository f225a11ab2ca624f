"""What is left to do of a replacement that is decided, or that nobody goes on with: to finish it, or to undo it.

Both look at what is there, do what is missing, and may be run again and again, by whoever reads what was written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from hitless.change import Deadline
from hitless.containers.container import NEW, OLD, Container, RestartPolicy
from hitless.containers.drain import HostDrain, admitted
from hitless.containers.engine import CALL_S, Engine
from hitless.containers.errors import EngineRefused, EngineUnreachable, NoSuchContainer
from hitless.containers.hub import Watch
from hitless.containers.intents import Intents

NEW_END_S: Final = 10.0
"""For a new container that never was healthy to end, before the old one is started again."""
ADMIT_S: Final = 30.0


async def finish(engine: Engine, intents: Intents, name: str, intent: Mapping[str, Any]) -> None:
    """The new one is healthy: let it have name and restart policy, and remove the old one."""
    policy = RestartPolicy.from_json(intent["policy"])
    new = await engine.inspect(str(intent["new"]))
    old = await engine.find(str(intent["id"]))
    if old is not None and old.name == name:
        await engine.rename(old.id, f"{name}{OLD}")
    if new.name != name:
        await engine.rename(new.id, name)
    if engine.dialect.can_set_policy and new.policy != policy:
        await engine.set_policy(new.id, policy)
    if intent["was_running"] and not new.is_running:
        await engine.start(new.id)
    if old is not None:
        with suppress(NoSuchContainer):
            await engine.remove(old.id)
    intents.remove(name)


async def undo(
    engine: Engine,
    intents: Intents,
    name: str,
    intent: Mapping[str, Any],
    *,
    within_s: float = NEW_END_S,
) -> None:
    """The new one is no good, or nobody knows: remove it, and let the old one be as it was. A new one that runs has
    `within_s` to end.

    Raises:
        NoSuchContainer: neither is there any more.
        EngineRefused: the old one is as it was but for its name, which somebody else has.
    """
    old = await engine.find(str(intent["id"]))
    new = await engine.find(str(intent["new"])) if intent["new"] else await engine.find(f"{name}{NEW}")
    if old is None:
        if new is None:
            intents.remove(name)
            raise NoSuchContainer(
                404, f"neither {name} nor its replacement is there any more; create it again"
            )
        await finish(engine, intents, name, {**intent, "new": new.id})
        return
    if new is not None and new.id != old.id:
        await _removed(engine, new, within_s=within_s)
    taken: EngineRefused | None = None
    if old.name != name:
        try:
            await engine.rename(old.id, name)
        except EngineRefused as error:  # somebody else has the name by now: it serves all the same
            taken = error
    policy = RestartPolicy.from_json(intent["policy"])
    if engine.dialect.can_set_policy and old.policy != policy:
        await engine.set_policy(old.id, policy)
    if intent["was_running"] and not old.is_running:
        await engine.start(old.id)
    if taken is not None:
        raise taken
    intents.remove(name)


async def taken_over(engine: Engine, intents: Intents, found: Container, name: str) -> Container:
    """The container as somebody is about to stop it who is the next after a Hitless that was killed: with the restart policy
    that was set aside then, and without the new one that was to take its place and never served."""
    intent = intents.get(name)
    if intent is None or intents.is_anothers(name, found.id):
        return found
    if intent["what"] == "replace" and intent["phase"] in ("begun", "created"):
        new = await engine.find(str(intent["new"]) or f"{name}{NEW}")
        if new is not None and new.id != found.id:
            await _removed(engine, new, within_s=NEW_END_S)
    return replace(found, policy=RestartPolicy.from_json(intent["policy"]))


def readiness(drains: Sequence[object]) -> list[list[str]]:
    """The commands that let work come again, for those who come after us to read."""
    return [list(each.undo_command) for each in drains if isinstance(each, HostDrain) and each.undo_command]


async def readmitted(engine: Engine, name: str, intent: Mapping[str, Any]) -> list[str]:
    """Let work come to the container of this name if it runs, as was written down; what did not succeed."""
    commands = [tuple(str(word) for word in command) for command in intent.get("ready") or ()]
    found = await engine.find(name) if commands else None
    if found is None or not found.is_running:
        return []
    return await admitted([HostDrain((), command) for command in commands], engine, found, ADMIT_S)


def is_ending(found: Container | None, intent: Mapping[str, Any]) -> bool:
    """Whether this container still runs, and was sent a signal by which it may end at any time."""
    signalled = intent.get("signalled") or {}
    return found is not None and found.is_running and signalled.get(found.id) == found.started_at


async def ended(engine: Engine, watch: Watch, id: str, within_s: float) -> bool:  # noqa: A002
    """Wait for the end of a container that was signalled; whether it came."""
    deadline = Deadline.after(within_s)
    while not deadline.expired:
        found = None
        with suppress(EngineUnreachable):
            found = await engine.find(id)
            if found is None or not found.is_running:
                return True
        await watch.wait(deadline.remaining())
    return False


async def _removed(engine: Engine, new: Container, *, within_s: float) -> None:
    with suppress(NoSuchContainer):
        if new.is_running:
            await engine.halt(new.id, max(1, round(within_s)), call_s=within_s + CALL_S)
        await engine.remove(new.id, force=True)
