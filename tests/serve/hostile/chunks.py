"""The chunked coding (RFC 9112, 7.1): sizes, extensions, ends, trailers."""

# A table, one case per line.
# fmt: off

from __future__ import annotations

from dataclasses import replace
from typing import Final

from serve.hostile.case import Case, refused, served

HEAD: Final = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
END: Final = b"0\r\n\r\n"


def bad(name: str, body: bytes, section: str) -> Case:
    """The head is fine, so the application may have begun; it must never get a complete body."""
    return replace(refused(name, HEAD + body, section), begun=("POST /a",))


def good(name: str, body: bytes, section: str, content: str, *hides: str) -> Case:
    return replace(served(name, HEAD + body, section, f"POST /a {content}"), hides=hides)


SIZES: Final = (
    good("an upper-case size", b"A\r\n0123456789\r\n" + END, "9112 7.1", "0123456789"),
    good("a size with leading zeros", b"0003\r\nabc\r\n" + END, "9112 7.1", "abc"),
    good("a last chunk of many zeros", b"3\r\nabc\r\n0000\r\n\r\n", "9112 7.1", "abc"),
    good("chunks one byte each", b"".join(b"1\r\n%c\r\n" % c for c in b"abc") + END, "9112 7.1", "abc"),
    good("content that looks like an end", b"7\r\n\r\n0\r\n\r\n\r\n" + END, "9112 7.1", "\r\n0\r\n\r\n"),
    bad("an empty size", b"\r\nabc\r\n" + END, "9112 7.1"),
    bad("a size of letters", b"xyz\r\nabc\r\n" + END, "9112 7.1"),
    bad("a size with 0x", b"0x3\r\nabc\r\n" + END, "9112 7.1"),
    bad("a size with a plus", b"+3\r\nabc\r\n" + END, "9112 7.1"),
    bad("a negative size", b"-3\r\nabc\r\n" + END, "9112 7.1"),
    bad("a size with an underscore", b"0_3\r\nabc\r\n" + END, "9112 7.1"),
    bad("a space before a size", b" 3\r\nabc\r\n" + END, "9112 7.1"),
    bad("a space after a size", b"3 \r\nabc\r\n" + END, "9112 7.1.1"),
    bad("a tab after a size", b"3\t\r\nabc\r\n" + END, "9112 7.1.1"),
    bad("a NUL after a size", b"3\0\r\nabc\r\n" + END, "9112 7.1"),
    bad("a comma after a size", b"3,\r\nabc\r\n" + END, "9112 7.1"),
    bad("a size of 2^64", b"10000000000000000\r\nabc\r\n" + END, "9112 7.1"),
    bad("a size of 2^64 + 3", b"10000000000000003\r\nabc\r\n" + END, "9112 7.1"),
    bad("a size of a hundred digits", b"f" * 100 + b"\r\nabc\r\n" + END, "9112 7.1"),
    bad("a size in other digits", b"\xef\xbc\x93\r\nabc\r\n" + END, "9112 7.1"),
)

LINES: Final = (
    bad("a chunk longer than its size", b"3\r\nabcd\r\n" + END, "9112 7.1"),
    bad("a chunk shorter than its size", b"5\r\nabc\r\n" + END, "9112 7.1"),
    bad("a chunk without its CRLF", b"3\r\nabc" + END, "9112 7.1"),
    bad("a chunk with two CRLF", b"3\r\nabc\r\n\r\n" + END, "9112 7.1"),
    bad("a bare LF after a size", b"3\nabc\r\n" + END, "9112 2.2"),
    bad("a bare LF after a chunk", b"3\r\nabc\n" + END, "9112 2.2"),
    bad("a bare CR after a size", b"3\rabc\r\n" + END, "9112 2.2"),
    bad("a bare CR after a chunk", b"3\r\nabc\r" + END, "9112 2.2"),
    bad("bare LF everywhere in chunks", b"3\nabc\n0\n\n", "9112 2.2"),
    bad("two CR after a size", b"3\r\r\nabc\r\n" + END, "9112 2.2"),
    bad("a bare LF after the last size", b"3\r\nabc\r\n0\n\r\n", "9112 2.2"),
    bad("a bare LF at the end", b"3\r\nabc\r\n0\r\n\n", "9112 2.2"),
    bad("garbage after the last size", b"3\r\nabc\r\n0xyz\r\n\r\n", "9112 7.1"),
    bad("garbage at the end", b"3\r\nabc\r\n0\r\nxyz\r\n\r\n", "9112 7.1.2"),
    bad("a request where the end should be", b"3\r\nabc\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", "9112 7.1.2"),
)

EXTENSIONS: Final = (
    good("an extension", b"3;a\r\nabc\r\n" + END, "9112 7.1.1", "abc"),
    good("an extension with a value", b"3;a=b;c=d\r\nabc\r\n" + END, "9112 7.1.1", "abc"),
    good("an extension in quotes", b'3;a="b c"\r\nabc\r\n' + END, "9112 7.1.1", "abc"),
    good("an extension on the last chunk", b"3\r\nabc\r\n0;a=b\r\n\r\n", "9112 7.1.1", "abc"),
    good("an extension that quotes a semicolon", b'3;a="b;c"\r\nabc\r\n' + END, "9112 7.1.1", "abc"),
    bad("an extension with a bare LF", b"3;a\nb\r\nabc\r\n" + END, "9112 7.1.1"),
    bad("an extension with a bare CR", b"3;a\rb\r\nabc\r\n" + END, "9112 7.1.1"),
    bad("an extension with a quoted CRLF", b'3;a="\r\nabc\r\n' + END + b'"\r\nabc\r\n' + END, "9112 7.1.1"),
    bad("an extension with a NUL", b"3;a\0\r\nabc\r\n" + END, "9112 7.1.1"),
    bad("an extension before a bare LF", b"3;a\nabc\r\n" + END, "9112 7.1.1"),
    bad("extensions beyond all measure", b"".join(b"1;" + b"x" * 400 + b"\r\na\r\n" for _ in range(600)) + END, "9112 7.1.1"),
)


def trailer(name: str, lines: bytes, *hides: str) -> Case:
    return good(name, b"3\r\nabc\r\n0\r\n" + lines + b"\r\n\r\n", "9110 6.5.1", "abc", *hides)


TRAILERS: Final = (
    trailer("a trailer", b"X-Trailer: y", "x-trailer"),
    trailer("a trailer that names a host", b"Host: evil", "evil"),
    trailer("a trailer with authorization", b"Authorization: Basic eA==", "authorization"),
    trailer("a trailer with a cookie", b"Cookie: a=b", "cookie"),
    trailer("a trailer with X-Forwarded-For", b"X-Forwarded-For: 192.0.2.1", "x-forwarded-for"),
    trailer("a trailer with a content type", b"Content-Type: text/html", "content-type"),
    trailer("a trailer that announces itself", b"Trailer: x-y\r\nX-Y: z", "x-y"),
    trailer("a trailer that upgrades", b"Connection: upgrade\r\nUpgrade: websocket", "upgrade"),
    trailer("a trailer that expects", b"Expect: 100-continue", "expect"),
    bad("a length among the trailers", b"3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n", "9110 6.5.1"),
    bad("a coding among the trailers", b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", "9110 6.5.1"),
    bad("a trailer with a bare LF", b"3\r\nabc\r\n0\r\nX: y\n\r\n", "9112 2.2"),
    bad("a trailer with a NUL", b"3\r\nabc\r\n0\r\nX: y\0\r\n\r\n", "9110 5.5"),
    bad("a trailer with a space before its colon", b"3\r\nabc\r\n0\r\nX : y\r\n\r\n", "9112 5.1"),
    bad("a folded trailer", b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n", "9112 5.2"),
    bad("trailers beyond all measure", b"3\r\nabc\r\n0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 6000 + b"\r\n", "9110 6.5"),
)

CASES: Final[tuple[Case, ...]] = (*SIZES, *LINES, *EXTENSIONS, *TRAILERS)
