"""The protocol between a target and its initiators, after iSCSI: log in, open, read, write, flush, close, log out.

The target greets. Then each request is answered before the next is sent:

    request   operation 1, handle 2, length 4, offset 8, and `length` bytes of payload if the operation has one
    reply     status 1, length 4, and `length` bytes

LOGOUT is the last request. Its sender closes the connection when it has the reply; the target waits for that, and so knows
of every connection whether it ended as it should.
"""

from __future__ import annotations

import struct
from enum import IntEnum

GREETING = b"VOLUMES/1\n"
REQUEST = struct.Struct("!BHIQ")
REPLY = struct.Struct("!BI")
OPENED = struct.Struct("!HQ")
"""The reply to OPEN: handle, size."""
LARGEST = 8 * 1024 * 1024
"""Bytes in one request or reply."""


class Operation(IntEnum):
    CREATE = 1
    """offset: the size; payload: the name."""
    DELETE = 2
    """payload: the name."""
    OPEN = 3
    """payload: the name."""
    READ = 4
    """length: of what is to be read."""
    WRITE = 5
    FLUSH = 6
    CLOSE = 7
    LOGOUT = 8


class Status(IntEnum):
    DONE = 0
    NO_SUCH_VOLUME = 1
    EXISTS = 2
    REFUSED = 3
    """The payload of this and of those above is a message."""
    FAILED = 4
    """The storage failed; the payload is a message."""
