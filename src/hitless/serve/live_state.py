"""Settings of the application's runtime, as the supervisor keeps them: by descriptor and hash, never read by it.

They are in force in all workers of a generation; who is started later starts with them, whatever the files say by then.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import Any, Final


class LiveState:
    """Owns the descriptor, which is closed when nobody has this object any more."""

    def __init__(self, fd: int, settings_hash: str, name: str = "", exclusive: tuple[str, ...] = ()) -> None:
        self.fd: Final = fd
        self.hash: Final = settings_hash
        self.name: Final = name
        """Of the runtime, for people."""
        self.exclusive: Final = exclusive
        """What only one process can have at a time, of what the runtime's resources have."""
        weakref.finalize(self, os.close, fd).atexit = False

    def freeze(self) -> dict[str, Any]:
        return {"fd": self.fd, "hash": self.hash, "name": self.name, "exclusive": list(self.exclusive)}

    @classmethod
    def thaw(cls, frozen: Mapping[str, Any] | None) -> LiveState | None:
        if frozen is None:
            return None
        return cls(frozen["fd"], frozen["hash"], frozen["name"], tuple(frozen["exclusive"]))
