"""What makes a running service look at its sources again, besides a call: a signal, a changed file, a command."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hitless.change import Coalescer


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """What is listened to. Nothing by default: a library does not take signals that it was not given."""

    sighup: bool = False
    watch_interval_s: float | None = None
    """Watch the sources (files, prefixes of etcd), and look at them at least so often; not at all if None."""
    watch_settle_s: float = 1.0
    """How long changed content must have been the same."""
    control: bool | str | Path = False
    """A control socket, at its usual place for the runtime's name or at this path: `hitless reload NAME`."""
    state_dir: str | Path | None = None
    """Directory of the journal; below /var/lib/hitless or the user's state directory if the runtime has a name."""


class Hangup:
    """Reloads on SIGHUP. Signals that come while one is being answered make one more reload."""

    def __init__(self, action: Callable[[], Awaitable[object]]) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._coalescer: Final = Coalescer(action)
        self._before: Any = None
        self._is_on = False

    def install(self) -> None:
        """Take the signal if this is the main thread, where alone signals can be taken."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGHUP, lambda _number, _frame: self.request())
            self._is_on = True

    def request(self) -> None:
        """As the signal does, from any thread: Python runs its handler in the main one, between two instructions."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._coalescer.request)

    def uninstall(self) -> None:
        """Give the signal back; from the main thread, as `install`."""
        if self._is_on and threading.current_thread() is threading.main_thread():
            self._is_on = False
            signal.signal(signal.SIGHUP, self._before or signal.SIG_DFL)

    async def close(self) -> None:
        await self._coalescer.close()
