"""Header field names: how clients spell them, and which of them the server must act on."""

from __future__ import annotations

import re
from typing import Final

HOST: Final = b"host"

METHODS: Final = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY")
}
ORDINARY: Final = frozenset(METHODS.values())
AUTHORITY: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
"""A host, and a port (RFC 3986, 3.2.2). Two servers that read another host out of the same bytes are two
routes and two caches.
"""

MARKED: Final = frozenset(
    (
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"upgrade",
        b"x-request-id",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    )
)
"""Request fields that the server itself reads, besides Host and Connection."""

_ORDINARY = (
    b"accept accept-charset accept-encoding accept-language access-control-request-headers"
    b" access-control-request-method authorization cache-control connection content-disposition"
    b" content-encoding content-language content-type cookie date dnt forwarded from if-match"
    b" if-modified-since if-none-match if-range if-unmodified-since keep-alive max-forwards origin"
    b" pragma priority proxy-connection range referer sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform"
    b" sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-websocket-extensions"
    b" sec-websocket-key sec-websocket-protocol sec-websocket-version te traceparent tracestate"
    b" trailer upgrade-insecure-requests user-agent via x-forwarded-host x-forwarded-port x-real-ip"
    b" x-requested-with"
)


def _spellings() -> dict[bytes, bytes]:
    table = {}
    for name in (HOST, *_ORDINARY.split()):
        for spelt in (name, name.title(), name.upper()):
            table[spelt] = name
    return table


LOWER: Final[dict[bytes, bytes]] = _spellings()
"""A usual spelling of a field that needs no attention → its lower-case name, one object for all requests."""

REASONS: Final[dict[int, bytes]] = {
    100: b"Continue",
    101: b"Switching Protocols",
    102: b"Processing",
    103: b"Early Hints",
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    203: b"Non-Authoritative Information",
    204: b"No Content",
    205: b"Reset Content",
    206: b"Partial Content",
    207: b"Multi-Status",
    208: b"Already Reported",
    226: b"IM Used",
    300: b"Multiple Choices",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    305: b"Use Proxy",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    411: b"Length Required",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    418: b"I'm a Teapot",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    423: b"Locked",
    424: b"Failed Dependency",
    425: b"Too Early",
    426: b"Upgrade Required",
    428: b"Precondition Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    451: b"Unavailable For Legal Reasons",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    506: b"Variant Also Negotiates",
    507: b"Insufficient Storage",
    508: b"Loop Detected",
    510: b"Not Extended",
    511: b"Network Authentication Required",
}
"""RFC 9110 and the IANA registry."""
