"""Requests whose header fields a client repeats to the byte.

A client that keeps its connection sends the same fields with every request, and only the request line changes. What was parsed once
need not be parsed again: if a message is a request line of the plainest kind, followed by exactly the bytes that followed the line
before, it means what it meant then. This is a memory, not a second parser: whatever is not as plain as that goes to the real one.

Only blocks are remembered that cannot change how the message is framed or who is behind it: HTTP/1.1, no body, no field that the
server itself acts on (see `fields.MARKED`), a connection that goes on.
"""

from __future__ import annotations

import re
from typing import Final

LINE: Final = re.compile(rb"(GET|HEAD|OPTIONS|DELETE) (/[A-Za-z0-9/._~%?&=+:@,;!$'()*-]*) HTTP/1\.1")
"""A request line that llhttp and RFC 9112 read alike: unreserved and reserved characters of an origin-form target, no fragment."""

LARGEST: Final = 2048
"""Bytes of a block that is remembered; one per connection."""

METHODS: Final = {b"GET": "GET", b"HEAD": "HEAD", b"OPTIONS": "OPTIONS", b"DELETE": "DELETE"}


def block_of(data: bytes) -> bytes:
    """What follows the request line, from its line end on; nothing if it is too long to be remembered."""
    at = data.find(b"\r\n")
    return data[at:] if at > 0 and len(data) - at <= LARGEST else b""
