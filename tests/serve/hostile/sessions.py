"""What comes one after the other on a connection: pipelines, persistence, expectations, upgrades, half-closes."""

# A table, one case per line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from dataclasses import replace
from typing import Final

from serve.hostile.case import Case, dropped, half_closed, last, refused, served

GET: Final = b"GET /a HTTP/1.1\r\nHost: a\r\n"
WHOLE: Final = GET + b"\r\n"
POST: Final = b"POST /a HTTP/1.1\r\nHost: a\r\n"
CHUNKED: Final = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HANDSHAKE: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY: Final = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

PIPELINES: Final = (
    served("two requests at once", WHOLE * 2, "9112 9.3.2", "GET /a", "GET /a"),
    served("twenty requests at once", WHOLE * 20, "9112 9.3.2", *["GET /a"] * 20),
    refused("a good request, a bad one", WHOLE + b"GET /b HTTP/1.1\r\n\r\n", "9112 9.3.2", after=("GET /a",)),
    refused("a good request, garbage", WHOLE + b"\x00\x01\x02\r\n\r\n", "9112 9.3.2", after=("GET /a",)),
    refused("a body, then a bad request", POST + b"Content-Length: 3\r\n\r\nabcXYZ /b\r\n\r\n", "9112 9.3.2", after=("POST /a abc",)),
    refused("a chunked body, then a bad request", CHUNKED + b"3\r\nabc\r\n0\r\n\r\nXYZ /b\r\n\r\n", "9112 9.3.2", after=("POST /a abc",)),
    served("a body that holds requests", POST + b"Content-Length: %d\r\n\r\n" % (2 * len(WHOLE)) + WHOLE * 2, "9112 6.3", "POST /a " + WHOLE.decode() * 2),
    served("chunks that hold requests", CHUNKED + b"%x\r\n" % len(WHOLE) + WHOLE + b"\r\n0\r\n\r\n", "9112 7.1", "POST /a " + WHOLE.decode()),
    served("both framings in turn", (POST + b"Content-Length: 3\r\n\r\nabc" + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n") * 2, "9112 9.3.2", *["POST /a abc"] * 4),
)

CONNECTIONS: Final = (
    last("close", GET + b"Connection: close\r\n\r\n", "9112 9.6", "GET /a"),
    last("Close", GET + b"Connection: Close\r\n\r\n", "9110 7.6.1", "GET /a"),
    last("close among options", GET + b"Connection: x, close , y\r\n\r\n", "9110 7.6.1", "GET /a"),
    last("close in a second field", GET + b"Connection: x\r\nConnection: close\r\n\r\n", "9110 5.3", "GET /a"),
    last("close after keep-alive", GET + b"Connection: keep-alive, close\r\n\r\n", "9112 9.3", "GET /a"),
    last("close before keep-alive", GET + b"Connection: close, keep-alive\r\n\r\n", "9112 9.3", "GET /a"),
    served("a word that begins with close", GET + b"Connection: closed\r\n\r\n", "9110 7.6.1", "GET /a"),
    served("keep-alive", GET + b"Connection: keep-alive\r\n\r\n", "9112 9.3", "GET /a"),
    served("an empty Connection", GET + b"Connection:\r\n\r\n", "9110 7.6.1", "GET /a"),
    served("a Connection of commas", GET + b"Connection: ,,\r\n\r\n", "9110 5.6.1", "GET /a"),
    last("HTTP/1.0", b"GET /a HTTP/1.0\r\n\r\n", "9112 9.3", "GET /a"),
    served("HTTP/1.0 with keep-alive", b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "9112 9.3", "GET /a"),
    served("HTTP/1.0 with Keep-Alive", b"GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "9112 9.3", "GET /a"),
    last("HTTP/1.0 with both", b"GET /a HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "9112 9.3", "GET /a"),
    last("HTTP/1.0 with Keep-Alive as a field", b"GET /a HTTP/1.0\r\nKeep-Alive: timeout=5\r\n\r\n", "9112 9.3", "GET /a"),
    served("HTTP/1.0 with keep-alive and a body", b"POST /a HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", "9112 9.3", "POST /a abc"),
)


def expects(name: str, value: bytes, *answers: int) -> Case:
    raw = POST + b"Expect: " + value + b"\r\nContent-Length: 3\r\n\r\nabc"
    if answers:
        return replace(refused(name, raw, "9110 10.1.1"), answers=answers)
    return served(name, raw, "9110 10.1.1", "POST /a abc")


EXPECTATIONS: Final = (
    expects("100-continue with its body at once", b"100-continue"),
    expects("100-Continue", b"100-Continue"),
    expects("an unknown expectation", b"200-ok", 417),
    expects("an expectation with a parameter", b"100-continue;a=b", 417),
    expects("two expectations", b"100-continue, 200-ok", 417),
    expects("an empty expectation", b"", 417),
    served("100-continue without a body", GET + b"Expect: 100-continue\r\n\r\n", "9110 10.1.1", "GET /a"),
    last("an expectation on HTTP/1.0", b"POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", "9110 10.1.1", "POST /a abc"),
)


def upgrade(name: str, lines: bytes, *seen: str, head: bytes = GET, section: str = "9110 7.8") -> Case:
    return served(name, head + lines, section, *(seen or ("GET /a",)))


UPGRADES: Final = (
    upgrade("h2c", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n"),
    upgrade("h2c with a body", b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", "POST /a abc", head=POST),
    upgrade("h2c with chunks", b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST /a abc", head=POST),
    last("h2c with a body and close", POST + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", "9110 7.8", "POST /a abc"),
    last("h2c with chunks and close", POST + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "9110 7.8", "POST /a abc"),
    last("h2c with a body on HTTP/1.0", b"POST /a HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", "9110 7.8", "POST /a abc"),
    upgrade("TLS", b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n"),
    upgrade("an unknown protocol", b"Connection: Upgrade\r\nUpgrade: x/1\r\n\r\n"),
    upgrade("an empty upgrade", b"Connection: Upgrade\r\nUpgrade:\r\n\r\n"),
    upgrade("an upgrade that Connection does not name", b"Upgrade: websocket\r\n\r\n"),
    upgrade("a Connection that names no upgrade", b"Connection: Upgrade\r\n\r\n"),
    upgrade("POST to a WebSocket", HANDSHAKE + KEY + b"Content-Length: 3\r\n\r\nabc", "POST /a abc", head=POST, section="6455 4.1"),
    upgrade("a WebSocket on HTTP/1.0", HANDSHAKE + b"Connection: keep-alive\r\n" + KEY + b"\r\n", head=b"GET /a HTTP/1.0\r\nHost: a\r\n"),
    upgrade("a WebSocket with a body", HANDSHAKE + KEY + b"Content-Length: 3\r\n\r\nabc", "GET /a abc", section="6455 4.1"),
)

HANDSHAKES: Final = (
    refused("a WebSocket without a key", GET + HANDSHAKE + b"\r\n", "6455 4.2.2"),
    refused("a WebSocket of version 8", GET + HANDSHAKE.replace(b"13", b"8") + KEY + b"\r\n", "6455 4.4", 426),
    refused("a WebSocket without a version", GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + KEY + b"\r\n", "6455 4.2.1"),
    refused("a WebSocket with an empty key", GET + HANDSHAKE + b"Sec-WebSocket-Key:\r\n\r\n", "6455 4.2.1"),
    refused("a WebSocket with a key that is none", GET + HANDSHAKE + b"Sec-WebSocket-Key: x\r\n\r\n", "6455 4.2.1"),
    refused("a WebSocket with two keys", GET + HANDSHAKE + KEY + KEY + b"\r\n", "6455 11.3.1"),
    replace(refused("a WebSocket with a malformed extension", GET + HANDSHAKE + KEY + b"Sec-WebSocket-Extensions: ;;=\r\n\r\n", "6455 9.1", 403), begun=("WEBSOCKET /a",)),
    refused("a WebSocket with an extension above ASCII", GET + HANDSHAKE + KEY + b"Sec-WebSocket-Extensions: \xff\r\n\r\n", "6455 9.1"),
    refused("a WebSocket with a protocol above ASCII", GET + HANDSHAKE + KEY + b"Sec-WebSocket-Protocol: \xff\r\n\r\n", "6455 4.2.1"),
    refused("a WebSocket to a host with an endless label", GET.replace(b"Host: a", b"Host: xn--" + b"a" * 100) + HANDSHAKE + KEY + b"\r\n", "1035 2.3.4"),
    refused("a WebSocket of two versions", GET + HANDSHAKE + KEY + b"Sec-WebSocket-Version: 8\r\n\r\n", "6455 4.4", 426),
)
"""Only where WebSockets are spoken (ASGI); the application refuses (403) what gets through to it."""


def cut(name: str, raw: bytes, *seen: str, status: int | None = None, begun: tuple[str, ...] = ()) -> Case:
    case = half_closed(dropped(name, raw, "9112 8", *seen))
    return replace(case, answers=case.answers if status is None else (*case.answers, status), begun=begun)


HALF_CLOSES: Final = (
    cut("half-closed at once", b""),
    cut("half-closed after an empty line", b"\r\n"),
    cut("half-closed in the method", b"GE"),
    cut("half-closed in the target", b"GET /a"),
    cut("half-closed in the version", b"GET /a HTTP/1"),
    cut("half-closed after the request line", b"GET /a HTTP/1.1\r\n"),
    cut("half-closed in a name", b"GET /a HTTP/1.1\r\nHo"),
    cut("half-closed in a value", b"GET /a HTTP/1.1\r\nHost: a"),
    cut("half-closed before the empty line", GET),
    cut("half-closed in the empty line", GET + b"\r"),
    cut("half-closed after a request", WHOLE, "GET /a"),
    cut("half-closed after two requests", WHOLE * 2, "GET /a", "GET /a"),
    cut("half-closed in a second request", WHOLE + GET, "GET /a"),
    cut("half-closed in a second request's body", WHOLE + POST + b"Content-Length: 5\r\n\r\nabc", "GET /a", begun=("POST /a",)),
    cut("half-closed before a body", POST + b"Content-Length: 5\r\n\r\n", begun=("POST /a",)),
    cut("half-closed in a body", POST + b"Content-Length: 5\r\n\r\nabc", begun=("POST /a",)),
    cut("half-closed after a body", POST + b"Content-Length: 3\r\n\r\nabc", "POST /a abc"),
    cut("half-closed before a chunk", CHUNKED, begun=("POST /a",)),
    cut("half-closed in a chunk's size", CHUNKED + b"3", begun=("POST /a",)),
    cut("half-closed in a chunk", CHUNKED + b"3\r\nab", begun=("POST /a",)),
    cut("half-closed after a chunk", CHUNKED + b"3\r\nabc\r\n", begun=("POST /a",)),
    cut("half-closed in the last chunk", CHUNKED + b"3\r\nabc\r\n0\r\n", begun=("POST /a",)),
    cut("half-closed in a trailer", CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n", begun=("POST /a",)),
    cut("half-closed after chunks", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", "POST /a abc"),
    cut("half-closed after a bad request", b"GET /a HTTP/1.1\r\n\r\n", status=400),
)

CASES: Final[tuple[Case, ...]] = (*PIPELINES, *CONNECTIONS, *EXPECTATIONS, *UPGRADES, *HALF_CLOSES)
