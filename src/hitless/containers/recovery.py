"""What a Hitless that was killed has left is put right before anything else is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hitless.containers.aside import restored
from hitless.containers.engine import Engine
from hitless.containers.errors import ContainersError, StopInProgress
from hitless.containers.intents import Intents
from hitless.containers.oversight import desk
from hitless.containers.replacement import finish, undo


async def recover(engine: Engine, intents: Intents) -> list[str]:
    """Finish or undo everything that is written down and nobody does; a sentence for each.

    Raises:
        EngineUnreachable: the engine went away meanwhile.
    """
    said = []
    for name, _ in list(intents.all()):
        try:
            async with desk(name, intents.key(name)):
                intent = intents.get(name)
                if intent is not None:  # else whoever had it has ended it just now
                    said.append(await _put_right(engine, intents, name, intent))
        except StopInProgress:
            continue
        except ContainersError as error:
            said.append(f"what was begun with {name} cannot be put right: {error}")
    return said


async def _put_right(engine: Engine, intents: Intents, name: str, intent: Mapping[str, Any]) -> str:
    if intent["what"] == "stop":
        await restored(engine, intents, name, intent)
        return f"a stop of {name} had been interrupted; its restart policy is restored"
    if intent["phase"] == "committed":
        await finish(engine, intents, name, intent)
        return f"a replacement of {name} had been interrupted; it is finished"
    await undo(engine, intents, name, intent)
    return f"a replacement of {name} had been interrupted; it is undone"
