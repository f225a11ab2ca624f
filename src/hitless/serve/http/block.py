"""The header fields of an application's response, checked and rendered.

Applications answer with the same few lists of fields over and over; so what a list comes to is remembered
(a pure function with a bounded cache), and most responses need no look at their fields at all.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final

TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNKNOWN: Final = -1
"""Length of a body that is not declared."""

Fields = Iterable[tuple[bytes, bytes]]


class FieldBlock:
    """What a list of response fields comes to.

    Attributes:
        lines: the fields that are sent as they are, each with its CRLF.
        sealed: the same with the empty line behind it.
        length: the declared Content-Length, or UNKNOWN.
        is_plain: none of the following is so.
        closes: the application wants the connection closed.
        is_event_stream: the body is a stream of server-sent events.
        has: which of Date, Server, X-Request-ID the application has set itself.
    """

    __slots__ = ("closes", "has", "is_event_stream", "is_plain", "length", "lines", "sealed")

    def __init__(self, fields: tuple[tuple[bytes, bytes], ...]) -> None:
        self.length = UNKNOWN
        self.closes = self.is_event_stream = False
        self.has: frozenset[bytes] = frozenset()
        kept: list[bytes] = []
        for name, value in fields:
            low, value = field_name(name), value.strip(b" \t")  # Django's cookies begin with a space
            act = _SPECIAL.get(low)
            if act is None or act(self, low, value):
                kept.append(b"%b: %b\r\n" % (low, value))
        self.lines = b"".join(kept)
        refuse_injection(kept, self.lines)
        self.sealed = self.lines + b"\r\n"
        self.is_plain = not (self.closes or self.is_event_stream or self.has)

    # What special fields do; the answer is whether the line is sent.

    def _declare(self, _name: bytes, value: bytes) -> bool:
        if not value.isdigit():
            raise ValueError(f"the response's content-length is no number: {value[:80]!r}")
        if self.length != UNKNOWN:
            raise ValueError("the response has two content-lengths")
        self.length = int(value)
        return True

    def _drop(self, _name: bytes, _value: bytes) -> bool:
        return False  # framing is the server's

    def _connection(self, _name: bytes, value: bytes) -> bool:
        self.closes = self.closes or b"close" in value.lower()
        return False

    def _type(self, _name: bytes, value: bytes) -> bool:
        self.is_event_stream = value.startswith(b"text/event-stream")
        return True

    def _note(self, name: bytes, _value: bytes) -> bool:
        self.has = self.has | {name}
        return True


_SPECIAL: Final = {
    b"content-length": FieldBlock._declare,
    b"transfer-encoding": FieldBlock._drop,
    b"connection": FieldBlock._connection,
    b"keep-alive": FieldBlock._drop,
    b"content-type": FieldBlock._type,
    b"date": FieldBlock._note,
    b"server": FieldBlock._note,
    b"x-request-id": FieldBlock._note,
}
"""Response fields that the server decides on, or looks at."""


@functools.lru_cache(maxsize=256)
def known_block(fields: tuple[tuple[bytes, bytes], ...]) -> FieldBlock:
    """The block of these fields.

    Raises:
        ValueError: a field cannot be sent.
    """
    return FieldBlock(fields)


def field_block(fields: Fields) -> FieldBlock:
    """The block of these fields, which may come in any kinds of sequence.

    Raises:
        ValueError: a field cannot be sent.
    """
    return known_block(tuple((bytes(name), bytes(value)) for name, value in fields))


@functools.lru_cache(maxsize=512)
def field_name(name: bytes) -> bytes:
    """A response field's name in lower case.

    Raises:
        ValueError: it is no token (RFC 9110, 5.6.2).
    """
    if not name or name.translate(None, TOKEN):
        raise ValueError(f"{name[:80]!r} cannot be the name of a response header field")
    return name.lower()


def refuse_injection(lines: list[bytes], block: bytes) -> None:
    """See that joined header lines are as many lines as they should be.

    Raises:
        ValueError: a value holds CR, LF or NUL: it would speak as another field (response splitting).
    """
    if block.count(b"\n") == len(lines) == block.count(b"\r") and b"\0" not in block:
        return
    for line in lines:
        text = line[:-2]
        if b"\r" in text or b"\n" in text or b"\0" in text:
            raise ValueError(f"a response header field holds a line break or NUL: {text[:80]!r}")
