"""What a Hitless that was killed has left is put right before anything else is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from hitless.change import Deadline
from hitless.config import ConfigError
from hitless.containers.aftermath import NEW_END_S, ended, finish, is_ending, readmitted, undo
from hitless.containers.aside import restored
from hitless.containers.engine import Engine
from hitless.containers.errors import ContainersError, EngineUnreachable, StopInProgress
from hitless.containers.hub import Hub
from hitless.containers.intents import Intents
from hitless.containers.oversight import desk

ENGINE_BACK_S: Final = 60.0
"""For an engine that went away while something was under way."""
AGAIN_S: Final = 1.0

Tell = Callable[[str], None]


@asynccontextmanager
async def recovering(
    engine: Engine, hub: Hub, intents: Intents, *, tell: Tell, is_taken_over: Callable[[str], bool]
) -> AsyncIterator[None]:
    """Finish or undo everything that is written down and nobody does; `tell` gets a sentence for each.

    A container that was told to stop may still be finishing its work, and must be started again when it has: that is waited
    for beside what is done inside, and at the end of it. Not where it is `is_taken_over`, being stopped anew.
    """
    waiting = []
    for name, intent in list(intents.all()):
        if await _is_ending(engine, intent):
            if is_taken_over(name) and intent["phase"] == "serves":
                await _one(
                    engine, hub, intents, name, tell
                )  # which of the two is meant is known when one is left
            elif not is_taken_over(name):
                tell(
                    f"{name} was told to stop by a hitless that was killed; it is started again when it has ended"
                )
                waiting.append(asyncio.create_task(_one(engine, hub, intents, name, tell)))
        else:
            await _one(engine, hub, intents, name, tell)
    try:
        try:
            yield
        except (ContainersError, ConfigError):
            await asyncio.gather(*waiting)
            raise
        await asyncio.gather(*waiting)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def put_right(engine: Engine, hub: Hub, intents: Intents, name: str) -> list[str]:
    """Finish or undo what is written down of one container, when the engine is there again; what was done, in sentences. Nothing is
    if it does not come back in time: then the next run does it."""
    said: list[str] = []
    deadline = Deadline.after(ENGINE_BACK_S)
    while (intent := intents.get(name)) is not None and not deadline.expired:
        try:
            await engine.connect()
        except EngineUnreachable:
            with hub.watch(str(intent["id"])) as watch:
                await watch.wait(AGAIN_S)
        else:
            await _one(engine, hub, intents, name, said.append)
            break
    return said


async def _is_ending(engine: Engine, intent: Mapping[str, Any]) -> bool:
    return intent["what"] != "stop" and is_ending(await engine.find(str(intent["id"])), intent)


async def _one(engine: Engine, hub: Hub, intents: Intents, name: str, tell: Tell) -> None:
    try:
        async with desk(name, intents.key(name)):
            intent = intents.get(name)
            if intent is not None:  # else whoever had it has ended it just now
                if await _is_ending(engine, intent):
                    tell(
                        f"{name} was told to stop by a hitless that was killed; it is started again when it has ended"
                    )
                said = await _settled(engine, hub, intents, name, intent)
                tell("; ".join([said, *await _readmitted(engine, name, intent)]))
    except StopInProgress:
        return
    except ContainersError as error:
        tell(
            f"what was begun with {name} cannot be put right: {error}; mend that, or remove {intents.path(name)} if {name} is as"
            " it should be"
        )


async def _settled(engine: Engine, hub: Hub, intents: Intents, name: str, intent: Mapping[str, Any]) -> str:
    if intent["what"] == "stop":
        await restored(engine, intents, name, intent)
        return f"a stop of {name} had been interrupted; its restart policy is restored"
    begun = f"a {intent.get('verb', 'replacement')} of {name} had been interrupted"
    total_s = float(intent.get("within_s") or NEW_END_S)
    has_served = intent["phase"] == "serves"  # its work is worth as much as the old one's
    if await _is_ending(engine, intent):
        with hub.watch(str(intent["id"])) as watch:
            has_ended = await ended(engine, watch, str(intent["id"]), total_s)
        if not has_ended:
            begun += ", and it did not end in time"
    if intent["phase"] == "committed" or (has_served and await _has_ended(engine, intent)):
        await finish(engine, intents, name, intent)
        return f"{begun}; it is finished"
    await undo(engine, intents, name, intent, within_s=total_s if has_served else NEW_END_S)
    return f"{begun}; it is undone"


async def _has_ended(engine: Engine, intent: Mapping[str, Any]) -> bool:
    """Whether the old one is stopped already, and the new one serves in its place."""
    old, new = await engine.find(str(intent["id"])), await engine.find(str(intent["new"]))
    return new is not None and new.is_running and (old is None or not old.is_running)


async def _readmitted(engine: Engine, name: str, intent: Mapping[str, Any]) -> list[str]:
    with suppress(ContainersError):
        if not is_ending(await engine.find(name), intent):
            return await readmitted(engine, name, intent)
    return []
