"""The wire format of Protocol Buffers, as far as OTLP's metrics need it. https://protobuf.dev/programming-guides/encoding/"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are taken as 64 bits
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(field: int, wire: int) -> bytes:
    return varint(field << 3 | wire)


def message(field: int, body: bytes) -> bytes:
    """A message, text or bytes."""
    return tag(field, LENGTH) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    return message(field, value.encode("utf-8", "replace"))


def integer(field: int, value: int) -> bytes:
    return tag(field, VARINT) + varint(value)


def double(field: int, value: float) -> bytes:
    return tag(field, FIXED64) + struct.pack("<d", value)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message, one after the other.

    Raises:
        ValueError: it is none.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(wire)
        if size is None:
            if wire != LENGTH:
                raise ValueError(f"there is no wire type {wire}")
            size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("the message ends in the middle of a field")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("the message ends in the middle of a number")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
