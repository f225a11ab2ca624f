"""Who stops a container just now: a control socket per container, which is its lock as well.

`hitless containers extend NAME 10m` and `hitless containers cancel NAME` talk to it from another terminal.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from hitless.change import JSON
from hitless.containers.errors import StopInProgress
from hitless.control import ControlError, ControlServer, Request, ServiceRunning, run_dir


class Overseen(Protocol):
    """What can be told to whatever goes on with a container."""

    @property
    def remaining_s(self) -> float: ...

    @property
    def is_killing(self) -> bool:
        """Whether SIGKILL is being sent, so that nothing can be changed any more."""

    def extend(self, seconds: float) -> float: ...

    def cancel(self) -> None: ...


class Desk:
    """Takes requests for one container; `overseen` is what goes on just now, if that can be told anything."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.overseen: Overseen | None = None

    async def ping(self, request: Request) -> JSON:  # noqa: ARG002
        return {"pid": os.getpid(), "container": self.name}

    async def extend(self, request: Request) -> JSON:
        seconds = request.params.get("seconds")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds <= 0:
            raise ControlError("invalid_params", "say by how many seconds, above 0")
        return {"container": self.name, "remaining_s": self._overseen().extend(float(seconds))}

    async def cancel(self, request: Request) -> JSON:  # noqa: ARG002
        self._overseen().cancel()
        return {"container": self.name}

    def _overseen(self) -> Overseen:
        if self.overseen is None:
            raise ControlError("not_stopping", f"{self.name} is not being stopped at the moment; try again")
        if self.overseen.is_killing:
            raise ControlError("too_late", f"the time of {self.name} is over, and it is being killed")
        return self.overseen


def desk_path(key: str) -> Path:
    """The socket for the container with this key (`Intents.key`)."""
    return run_dir() / "containers" / f"{key}.sock"


@asynccontextmanager
async def desk(name: str, key: str) -> AsyncIterator[Desk]:
    """Have the container to ourselves.

    Raises:
        StopInProgress: another process has it.
        ControlError: the socket cannot be had.
    """
    made = Desk(name)
    server = ControlServer(desk_path(key), {"ping": made.ping, "extend": made.extend, "cancel": made.cancel})
    try:
        await server.start()
    except ServiceRunning as error:
        raise StopInProgress(
            f"{name} is being stopped or replaced by pid {error.pid or '?'}; wait for it, or run:"
            f" hitless containers cancel {name}"
        ) from None
    try:
        yield made
    finally:
        await server.close()
