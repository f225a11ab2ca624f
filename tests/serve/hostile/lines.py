"""Lines and fields: their ends, their names, their values, how many of them."""

# A table, one case per line.
# fmt: off

from __future__ import annotations

from dataclasses import replace
from typing import Final

from serve.hostile.case import Case, refused, served

GET: Final = b"GET /a HTTP/1.1\r\nHost: a\r\n"


def field(name: str, line: bytes, section: str, status: int = 400) -> Case:
    return refused(name, GET + line + b"\r\n\r\n", section, status)


def shown(name: str, line: bytes, section: str, *field: str) -> Case:
    case = served(name, GET + line + b"\r\n\r\n", section, "GET /a")
    return replace(case, shows=((field[0], field[1]),)) if field else case


ENDS: Final = (
    refused("bare LF lines", b"GET /a HTTP/1.1\nHost: a\n\n", "9112 2.2"),
    refused("a bare LF after the request line", b"GET /a HTTP/1.1\nHost: a\r\n\r\n", "9112 2.2"),
    field("a bare LF between fields", b"X: y\nZ: z", "9112 2.2"),
    refused("a bare LF for the empty line", GET + b"\n", "9112 2.2"),
    refused("a bare LF after the last field", b"GET /a HTTP/1.1\r\nHost: a\n\r\n", "9112 2.2"),
    refused("bare CR lines", b"GET /a HTTP/1.1\rHost: a\r\r", "9112 2.2"),
    refused("a bare CR after the request line", b"GET /a HTTP/1.1\rHost: a\r\n\r\n", "9112 2.2"),
    field("a bare CR in a value", b"X: y\rz", "9112 2.2"),
    field("a bare CR at the end of a value", b"X: y\r\r\nZ: z", "9112 2.2"),
    field("a bare CR in a name", b"X\rY: z", "9112 2.2"),
    served("an empty line before a request", b"\r\n" + GET + b"\r\n", "9112 2.2", "GET /a"),
    served("many empty lines before a request", b"\r\n" * 8 + GET + b"\r\n", "9112 2.2", "GET /a"),
    served("an empty line between requests", GET + b"\r\n\r\n" + GET + b"\r\n", "9112 2.2", "GET /a", "GET /a"),
    refused("a space before the request line", b" " + GET + b"\r\n", "9112 2.2"),
    refused("a tab before the request line", b"\t" + GET + b"\r\n", "9112 2.2"),
    refused("a line of spaces before the request line", b"  \r\n" + GET + b"\r\n", "9112 2.2"),
    refused("a NUL before the request line", b"\0" + GET + b"\r\n", "9112 2.2"),
    refused("a byte order mark", b"\xef\xbb\xbf" + GET + b"\r\n", "9112 2.2"),
    refused("a space before the first field", b"GET /a HTTP/1.1\r\n Host: a\r\n\r\n", "9112 2.2"),
    refused("a tab before the first field", b"GET /a HTTP/1.1\r\n\tHost: a\r\n\r\n", "9112 2.2"),
    refused("a line of spaces after the request line", b"GET /a HTTP/1.1\r\n \r\nHost: a\r\n\r\n", "9112 2.2"),
)

NAMES: Final = (
    field("a space before a colon", b"X : y", "9112 5.1"),
    field("a tab before a colon", b"X\t: y", "9112 5.1"),
    field("a space in a name", b"X Y: z", "9110 5.1"),
    field("an empty name", b": y", "9110 5.1"),
    field("a line without a colon", b"X", "9112 5"),
    field("an empty line of spaces among the fields", b"   \r\nX: y", "9112 5.2"),
    field("a NUL in a name", b"X\0: y", "9110 5.1"),
    field("a NUL first in a name", b"\0X: y", "9110 5.1"),
    field("a control byte in a name", b"X\x01: y", "9110 5.1"),
    field("DEL in a name", b"X\x7f: y", "9110 5.1"),
    field("a byte above ASCII in a name", b"X\xe9: y", "9110 5.1"),
    field("a parenthesis in a name", b"X(Y): z", "9110 5.6.2"),
    field("an at sign in a name", b"X@Y: z", "9110 5.6.2"),
    field("a quote in a name", b'"X": z', "9110 5.6.2"),
    field("a slash in a name", b"X/Y: z", "9110 5.6.2"),
    field("brackets in a name", b"X[Y]: z", "9110 5.6.2"),
    field("braces in a name", b"X{Y}: z", "9110 5.6.2"),
    shown("a name with every other sign", b"X!#$%&'*+.^`|~9: y", "9110 5.6.2"),
    shown("a name in capitals", b"X-SHOUT: y", "9110 5.1", "x-shout", "y"),
    shown("a name spelled twice", b"X-A: 1\r\nx-a: 2", "9110 5.3"),
    replace(shown("X_Forwarded_For", b"X_Forwarded_For: 192.0.2.1", "9110 5.1"), hides=("x-forwarded-for",)),
)

VALUES: Final = (
    field("a folded value", b"X: y\r\n z", "9112 5.2"),
    field("a value folded by a tab", b"X: y\r\n\tz", "9112 5.2"),
    field("an empty folded line", b"X: y\r\n ", "9112 5.2"),
    field("a NUL in a value", b"X: y\0z", "9110 5.5"),
    field("a NUL at the end of a value", b"X: y\0", "9110 5.5"),
    field("a control byte in a value", b"X: y\x01z", "9110 5.5"),
    field("a backspace in a value", b"X: y\x08z", "9110 5.5"),
    field("an escape in a value", b"X: y\x1bz", "9110 5.5"),
    field("DEL in a value", b"X: y\x7fz", "9110 5.5"),
    field("a vertical tab in a value", b"X: y\x0bz", "9110 5.5"),
    shown("an empty value", b"X-V:", "9110 5.5", "x-v", ""),
    shown("a value of spaces", b"X-V:   ", "9112 5.1", "x-v", ""),
    shown("spaces around a value", b"X-V:  \t y \t ", "9112 5.1", "x-v", "y"),
    shown("a tab in a value", b"X-V: a\tb", "9110 5.5", "x-v", "a\tb"),
    shown("a colon first in a value", b"X-V::y", "9112 5", "x-v", ":y"),
    shown("bytes above ASCII in a value", b"X-V: \xff\xe9", "9110 5.5", "x-v", "\xff\xe9"),
    shown("a value that looks like a line", b"X-V: GET / HTTP/1.1", "9110 5.5", "x-v", "GET / HTTP/1.1"),
)

SIZES: Final = (
    field("a value beyond the limit", b"X: " + b"y" * 70_000, "9110 5.4", 431),
    field("a name beyond the limit", b"X" * 70_000 + b": y", "9110 5.4", 431),
    refused("more fields than the limit", GET + b"X: y\r\n" * 300 + b"\r\n", "9110 5.4", 431),
    served("as many fields as allowed", GET + b"X: y\r\n" * 255 + b"\r\n", "9110 5.4", "GET /a"),
    refused("a target beyond the limit", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3", 414),
    served("a long target", b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3", "GET /" + "a" * 8000),
    refused("a method beyond all measure", b"A" * 20_000 + b" /a HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3.1"),
    refused("endless empty lines", b"\r\n" * 40_000, "9112 2.2", 431),
    refused("a long line of nothing known", b"\x80" * 20_000 + b"\r\n\r\n", "9112 3"),
)

CASES: Final[tuple[Case, ...]] = (*ENDS, *NAMES, *VALUES, *SIZES)
