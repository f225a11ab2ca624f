"""One output of a command, as it comes: bounded, and with the marks of the lifeline taken out."""

from __future__ import annotations

from collections import deque
from typing import Final

MARK_LIMIT: Final = 32
"""A mark's word is not longer."""


class Capture:
    """What was between the mark `ready` and the last one; of more than `limit` bytes the beginning and the end."""

    def __init__(self, nonce: str, limit: int) -> None:
        self._mark: Final = b"\n" + nonce.encode() + b" "
        self._limit: Final = limit
        self._rest = b""
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._missing = 0
        self.words: list[str] = []
        """Of the marks that have come."""
        self.at_eof = False

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        data = self._rest + data
        while (at := data.find(self._mark)) >= 0:
            end = data.find(b"\n", at + len(self._mark))
            if end < 0:
                break
            self._keep(data[:at])
            self._begin(data[at + len(self._mark) : end])
            data = data[end + 1 :]
        held = len(data) - at if at >= 0 else len(self._mark) - 1
        self._keep(data[: max(0, len(data) - held)])
        self._rest = data[max(0, len(data) - held) :]

    def close(self) -> None:
        """Nothing more comes."""
        self._keep(self._rest)
        self._rest = b""
        self.at_eof = True

    def text(self) -> str:
        """What was kept, with a line where something is missing."""
        head, tail = bytes(self._head), b"".join(self._tail)
        if self._missing:
            head += f"\n[{self._missing} bytes are not kept]\n".encode()
        return (head + tail).decode(errors="replace")

    def _begin(self, word: bytes) -> None:
        self.words.append(word[:MARK_LIMIT].decode(errors="replace"))
        if len(self.words) == 1:  # what login scripts have printed is not the command's
            self._head.clear()
            self._tail.clear()
            self._tail_size = self._missing = 0

    def _keep(self, data: bytes) -> None:
        if len(self.words) > 1:
            return  # of daemons that the command has left behind
        half = self._limit // 2
        room = half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail.append(data[-half:])
            self._missing += max(0, len(data) - half)
            self._tail_size += min(len(data), half)
        while self._tail_size > half:
            first = self._tail.popleft()
            excess = min(len(first), self._tail_size - half)
            self._missing += excess
            self._tail_size -= excess
            if excess < len(first):
                self._tail.appendleft(first[excess:])
