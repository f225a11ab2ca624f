"""What ties a container to others so that no new one can take its place: looked for before anything moves."""

from __future__ import annotations

import asyncio
from typing import Final

from hitless.containers.container import Container
from hitless.containers.engine import Engine
from hitless.containers.errors import ContainersError

SHARED: Final = {"NetworkMode": "network", "IpcMode": "IPC", "PidMode": "PID"}
"""Namespaces that a container may have of another, which is named by its id when both are created."""
INSPECTED_AT_ONCE: Final = 16


class Tied(ContainersError):
    """Others depend on this very container, or it belongs to what a new one cannot be put into."""


async def check_ties(engine: Engine, old: Container) -> None:
    """That a new one can take its place.

    Raises:
        Tied: it is in a pod, or others live in its namespaces: they would be left without, and could never be started again.
        EngineError: the engine does not answer.
    """
    if pod := await engine.pod_of(old.id):
        raise Tied(
            f"it is in the pod {pod[:12]}, and the API that hitless speaks cannot create a container in a pod;"
            " replace the pod, by podman kube play --replace or what made it"
        )
    users = await _sharing(engine, old)
    if users:
        said = ", ".join(f"{name} ({what})" for name, what in users)
        raise Tied(
            f"{said} would be cut off, and could not be started again; remove what shares its namespaces first, and create"
            " it again when it is replaced"
        )


async def _sharing(engine: Engine, old: Container) -> list[tuple[str, str]]:
    """Names of those that live in its namespaces, and in which."""
    few = asyncio.Semaphore(INSPECTED_AT_ONCE)

    async def one(id_: str) -> Container | None:
        async with few:
            return await engine.find(id_)

    ids = [id_ for id_, _ in await engine.names() if id_ != old.id]
    others = [each for each in await asyncio.gather(*(one(id_) for id_ in ids)) if each is not None]
    found = []
    for other in sorted(others, key=lambda other: other.name):
        modes = other.raw["HostConfig"]
        shared = [word for key, word in SHARED.items() if _is_of(str(modes.get(key) or ""), old)]
        if shared:
            found.append((other.name, "/".join(shared)))
    return found


def _is_of(mode: str, old: Container) -> bool:
    kind, _, whose = mode.partition(":")
    return kind == "container" and bool(whose) and (old.id.startswith(whose) or whose == old.name)
