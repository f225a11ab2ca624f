"""How a piece of long work ended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

OnProgress = Callable[[int], None]
"""Told the bytes (or messages) so far after each piece: a readiness signal for whoever wants to act in the
middle."""

COMPLETE = "complete"
DEADLINE = "deadline"


class Lost(Exception):
    """The server ended the connection before the work was done."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """``eof``, ``rst``, ``refused``, ``garbled …``, ``closed 1012 …``"""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of the work at its end."""

    reason: str
    """``complete``, or what cut it: ``eof``, ``rst``, ``refused``, ``status 503``, ``closed 1012 …``,
    ``deadline``."""
    seconds: float
    size: int
    """Bytes of content sent (upload) or received (everything else)."""
    messages: int = 0
    """Events or WebSocket messages received."""
    status: int = 0
    sha256: str = ""
    """Digest of the content sent or received."""
    closing: bool = False
    """Whether the response carried ``Connection: close``."""
    answer_s: float = 0.0
    """From the last byte of an upload to the head of its answer."""

    @property
    def survived(self) -> bool:
        return self.reason == COMPLETE


@dataclass(slots=True)
class Progress:
    """The running numbers that an ending is made of."""

    on_progress: OnProgress | None = None
    size: int = 0
    messages: int = 0
    status: int = 0
    closing: bool = False
    answer_s: float = 0.0
    began: float = field(default_factory=time.monotonic)
    digest: _Hash = field(default_factory=hashlib.sha256)

    def add(self, data: bytes, *, messages: int = 0) -> None:
        """`data` was sent or received."""
        self.size += len(data)
        self.messages += messages
        self.digest.update(data)
        if self.on_progress is not None:
            self.on_progress(self.messages if messages else self.size)

    def end(self, reason: str) -> Ending:
        seconds = time.monotonic() - self.began
        digest = self.digest.hexdigest()
        return Ending(
            reason, seconds, self.size, self.messages, self.status, digest, self.closing, self.answer_s
        )
