"""What a Hitless that was killed has left is put right before anything else is done."""

from __future__ import annotations

from collections.abc import Callable

from hitless.containers.aside import restored
from hitless.containers.container import Container
from hitless.containers.errors import ContainersError, StopInProgress
from hitless.containers.fleet import Fleet
from hitless.containers.oversight import desk
from hitless.containers.parameters import Parameters


async def recover(fleet: Fleet, parameters: Callable[[Container], Parameters]) -> list[str]:
    """Finish or undo everything that is written down and nobody does; a sentence for each."""
    said = []
    for name, intent in list(fleet.intents.all()):
        try:
            async with desk(name, fleet.intents.key(name)):
                if fleet.intents.get(name) is None:
                    continue  # whoever had it has finished it just now
                await restored(fleet.engine, fleet.intents, name, intent)
                said.append(f"a stop of {name} had been interrupted; its restart policy is restored")
        except StopInProgress:
            continue
        except ContainersError as error:
            said.append(f"what was begun with {name} cannot be put right yet: {error}")
    return said
