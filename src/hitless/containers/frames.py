"""Docker's stream format: standard output and standard error in one, each piece with a header of eight bytes."""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = struct.Struct(">BxxxL")
STREAMS: Final = (0, 1, 2)


def demultiplexed(content: bytes) -> bytes:
    """What was written, both streams in the order in which it came. Content without headers (a terminal's) is
    given as it is."""
    pieces, at = [], 0
    while at + HEADER.size <= len(content):
        stream, length = HEADER.unpack_from(content, at)
        if stream not in STREAMS or content[at + 1 : at + 4] != b"\0\0\0":
            return content
        at += HEADER.size
        pieces.append(content[at : at + length])
        at += length
    return b"".join(pieces) if pieces else content
