"""Who runs this process, where it is one of several that must change together: a worker of `hitless serve` or `hitless run`.

The host is told of the runtime when it starts, and from then on makes its changes: in all processes, or in none. Without a
host a runtime makes its own.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from hitless.live.lifetime import Lifetime

if TYPE_CHECKING:
    from hitless.live.hosted import Hosted


class Host(Protocol):
    @property
    def inherited(self) -> str | None:
        """The settings (JSON) to start with, in place of those of the sources: what the other processes run on."""

    async def room(self) -> None:
        """Wait until what only one process can have may be opened here. May be called from another loop than the host's."""

    def attached(self, hosted: Hosted[Any]) -> None:
        """A runtime has started. Raises LiveError: there is one already."""

    def failed(self, message: str, detail: str) -> None:
        """The runtime could not be started."""

    def ready(self) -> None:
        """The program says that it is up; see `hitless.live.ready`."""

    def lifetime(self) -> Lifetime:
        """The program wants to be told when it is to end."""


HOST: Final[ContextVar[Host | None]] = ContextVar("host", default=None)


def lifetime() -> Lifetime:
    """When this program is to end. Whoever asks for it is not interrupted: it ends by itself, within the drain deadline.

    Outside of `hitless run` nobody ever ends it.
    """
    host = HOST.get()
    return Lifetime() if host is None else host.lifetime()


def ready() -> None:
    """Say that this program is up. `hitless run` waits for it, or for the start of a runtime; elsewhere it does nothing."""
    host = HOST.get()
    if host is not None:
        host.ready()
