"""Where uvicorn and gunicorn answer a hostile case otherwise, and why ours is right, or as right.

Per case: what uvicorn and what gunicorn did, as `answers; requests that the application saw`; the canary that is sent
behind every case among them. SAME: as ours. VARIES: not twice the same, so not compared.
"""

# A table, one case per line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from typing import Final

SAME: Final = "="
VARIES: Final = "varies"

EXPLAINED: Final[tuple[tuple[str, dict[str, tuple[str, str]]], ...]] = (
    (
        "9112 6.3: the last coding is not chunked, so the body's end cannot be known, and that MUST be a 400. "
        "gunicorn's 501 is the SHOULD of 6.1 for codings that are not understood; all close.",
        {
            "CL with an empty TE": (SAME, "501; none"),
            "xchunked": (SAME, "501; none"),
            "chunkedx": (SAME, "501; none"),
            "chunked in quotes": (SAME, "501; none"),
            "chunked with a parameter": (SAME, "501; none"),
            "chunked and a comma": (SAME, "501; none"),
            "chunked after a no-break space": (SAME, "501; none"),
            "chun ked": (SAME, "501; none"),
            "an empty TE": (SAME, "501; none"),
            "TE twice, chunked first": (SAME, "501; none"),
        },
    ),
    (
        "9112 5.1 would leave the tab out of the value, as gunicorn does. A coding in odd whitespace is how "
        "TE.TE attacks look (11.2), no client sends it, and the parser refuses it; refusing is safe.",
        {
            "chunked before a tab": (SAME, "200 200; POST /a abc + GET /canary"),
        },
    ),
    (
        "9112 6.1: a coding that is not decoded gets a 501. uvicorn and gunicorn hand over coded bytes as if "
        "they were the content, or pass over a name that a proxy may have understood; the empty element (9110 "
        "5.6.1.2 would ignore it) is refused with them.",
        {
            "identity, chunked": ("200 200; POST /a abc + GET /canary", "200 200; POST /a abc + GET /canary"),
            "gzip, chunked": ("200 200; POST /a abc + GET /canary", "200; POST /a abc"),
            "a comma and chunked": ("200 200; POST /a abc + GET /canary", SAME),
            "TE twice, chunked last": ("200 200; POST /a abc + GET /canary", SAME),
        },
    ),
    (
        "9112 6.1: a server MUST treat HTTP/1.0 with a Transfer-Encoding as faulty framing: a proxy of that "
        "version has not understood it.",
        {
            "chunked on HTTP/1.0": ("200; POST /a abc", SAME),
        },
    ),
    (
        "9110 8.6, 9112 7.1: recipients guard against numbers that overflow. gunicorn's do not, so it waits "
        "for 2^64 bytes; nobody sends them, and whoever stands in front may have counted otherwise.",
        {
            "2^64": (SAME, "nothing, waits"),
            "2^64 + 5": (SAME, "nothing, waits"),
            "a length of a thousand digits": (SAME, "nothing, waits"),
            "a size of 2^64": (SAME, "nothing, waits"),
            "a size of 2^64 + 3": (SAME, "nothing, waits"),
            "a size of a hundred digits": (SAME, "nothing, waits"),
        },
    ),
    (
        "9112 9.3.2: responses come in the order of the requests, so the request before the bad one gets its "
        "own. uvicorn parses ahead, and its 400 takes the place of the good request's response.",
        {
            "more body than its length": ("400; POST /a abc", SAME),
            "a good request, garbage": ("400; GET /a", SAME),
            "a body, then a bad request": ("400; POST /a abc", SAME),
            "a chunked body, then a bad request": ("400; POST /a abc", SAME),
        },
    ),
    (
        "9112 7.1.1, 9110 6.5.1: what a chunked body costs besides its content is limited here; without that "
        "a kilobyte of content could take a gigabyte of framing.",
        {
            "extensions beyond all measure": ("200 200; POST /a aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…608 + GET /canary", "200 200; POST /a aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…608 + GET /canary"),
            "trailers beyond all measure": ("200 200; POST /a abc + GET /canary", "431; none"),
        },
    ),
    (
        "9110 5.4, 9112 3: every server has limits of its own. Ours are limits.header_bytes (64 KiB, 431 or, "
        "for the target, 414) and limits.headers (256); gunicorn's are 4 KiB per line and 100 fields; uvicorn "
        "has none here.",
        {
            "a value beyond the limit": ("200 200; GET /a + GET /canary", SAME),
            "a name beyond the limit": ("200 200; GET /a + GET /canary", SAME),
            "more fields than the limit": ("200 200; GET /a + GET /canary", SAME),
            "as many fields as allowed": (SAME, "431; none"),
            "a target beyond the limit": ("400; none", SAME),
            "a long target": (SAME, "414; none"),
            "a method beyond all measure": (SAME, "414; none"),
            "a long line of nothing known": (SAME, "414; none"),
            "endless empty lines": ("200; GET /canary", "400; none"),
        },
    ),
    (
        "9112 2.2: at least one empty line before a request SHOULD be ignored. More of them are as harmless.",
        {
            "many empty lines before a request": (SAME, "400; none"),
        },
    ),
    (
        "9110 6.5.1: a trailer is no header; this server drops them all. uvicorn appends them to the headers "
        "that it gives its proxy middleware, so a client can write its own address (it then goes by another "
        "port, and is not found under ours). gunicorn refuses those that could mean something.",
        {
            "a trailer that names a host": (SAME, "400; none"),
            "a trailer with authorization": (SAME, "400; none"),
            "a trailer with X-Forwarded-For": ("200 200; GET /canary", SAME),
            "a trailer that announces itself": (SAME, "400; none"),
        },
    ),
    (
        "9110 9.1: a method that is not known SHOULD be a 501. The parser knows a closed list and cannot tell "
        "others from garbage: 400, as uvicorn. gunicorn leaves them to the application.",
        {
            "a method that nobody knows": (SAME, "200 200; FETCH /a + GET /canary"),
            "a method that begins like GET": (SAME, "200 200; GETX /a + GET /canary"),
        },
    ),
    (
        "9110 9.3.6: CONNECT is for proxies; 501 here. uvicorn takes a path for its target and then hears no "
        "more requests; gunicorn gives it to the application.",
        {
            "CONNECT to an authority": ("400; none", "200; CONNECT a:80"),
            "CONNECT to a path": ("200, waits", "200; CONNECT /a"),
            "CONNECT with a body": ("400; none", "200; CONNECT a:80 abc"),
        },
    ),
    (
        "9110 15.6.6: another major version is a 505. uvicorn answers HTTP/2.0 and HTTP/0.9 in HTTP/1.1.",
        {
            "HTTP/0.9": ("200; GET /a", "400; none"),
            "HTTP/0.9 said": ("200; GET /a", "400; none"),
            "HTTP/2.0": ("200; GET /a", "400; none"),
        },
    ),
    (
        "9110 2.5 would read 1.2 as 1.1 (SHOULD), as gunicorn does. The parser has a closed list of versions, "
        "and no version 1.2 will come.",
        {
            "HTTP/1.2": (SAME, "200 200; GET /a + GET /canary"),
        },
    ),
    (
        "9112 2.3: the protocol's name is HTTP. The parser that we share with uvicorn speaks RTSP and ICE as "
        "well, so uvicorn does.",
        {
            "RTSP/1.0": ("200; OPTIONS /a", SAME),
            "RTSP/1.1": ("200 200; GET /a + GET /canary", SAME),
            "ICE/1.0": ("200; SOURCE /a", SAME),
        },
    ),
    (
        "9112 3: a recipient MAY take any whitespace for one space. Target and method are the same in every "
        "reading.",
        {
            "two spaces before the target": (SAME, "400; none"),
            "two spaces after the target": (SAME, "400; none"),
        },
    ),
    (
        "9112 3.2: no form of request target has a fragment; a malformed line SHOULD be a 400. uvicorn cuts "
        "it off, gunicorn passes it on: two paths for one request.",
        {
            "a fragment": ("200 200; GET /a + GET /canary", "200 200; GET /a#b + GET /canary"),
            "a fragment after a query": ("200 200; GET /a?b + GET /canary", "200 200; GET /a?b#c + GET /canary"),
        },
    ),
    (
        "9112 3.2.2: a server MUST accept the absolute form, and its authority replaces Host. uvicorn refuses "
        "it where the path is empty. gunicorn serves it and shows the line as it came in RAW_URI, with the "
        "Host that was sent.",
        {
            "an absolute target": (SAME, "200 200; GET http://b.example:80/a?c + GET /canary"),
            "an absolute target without a path": ("400; none", "200 200; GET http://b.example + GET /canary"),
            "an absolute target with a query only": ("400; none", "200 200; GET http://b.example?c + GET /canary"),
            "an absolute target in capitals": (SAME, "200 200; GET HTTP://B.EXAMPLE/a + GET /canary"),
        },
    ),
    (
        "9110 4.2.1: an http URI without a host MUST be rejected; 4.2.4: user information in one is to be "
        "treated as an error; what is no http URI is not for us, and an authority is checked like a Host "
        "(9112 3.2).",
        {
            "an absolute target without a host": (SAME, "200 200; GET http:///a + GET /canary"),
            "an absolute target with a port only": (SAME, "200 200; GET http://:80/a + GET /canary"),
            "an absolute target with user info": ("200 200; GET /a + GET /canary", "200 200; GET http://u:p@b/a + GET /canary"),
            "an absolute target with a bad host": (SAME, "200 200; GET http://b<c>/a + GET /canary"),
            "an absolute target of another scheme": ("200 200; GET /a + GET /canary", "200 200; GET ftp://b/a + GET /canary"),
            "a file target": (SAME, "200 200; GET file:///etc/passwd + GET /canary"),
        },
    ),
    (
        "9112 3.2.4: the asterisk is for OPTIONS, and stands alone.",
        {
            "an asterisk for GET": ("200 200; GET * + GET /canary", SAME),
            "an asterisk and more for OPTIONS": ("200 200; OPTIONS *a + GET /canary", SAME),
        },
    ),
    (
        "9112 3.2: a server MUST answer 400 to HTTP/1.1 without Host, with two of them, or with a value that "
        "is no host. Otherwise two servers choose two hosts: one request, two routes, two cache entries. "
        "Neither peer looks at the value.",
        {
            "no Host": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "an absolute target and no Host": ("200 200; GET /a + GET /canary", "200 200; GET http://b/a + GET /canary"),
            "a good request, a bad one": ("200 200 200; GET /a + GET /b + GET /canary", "200 200 200; GET /a + GET /b + GET /canary"),
            "half-closed after a bad request": ("200; GET /a", "200; GET /a"),
            "Host twice": ("200 200; GET /a + GET /canary", SAME),
            "the same Host twice": ("200 200; GET /a + GET /canary", SAME),
            "Host twice, spelled oddly": ("200 200; GET /a + GET /canary", SAME),
            "Host twice, both spelled oddly": ("200 200; GET /a + GET /canary", SAME),
            "Host twice on HTTP/1.0": ("200; GET /a", SAME),
            "a Host with a space": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with a path": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with user info": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with a scheme": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with a port that is none": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with two ports": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with an open bracket": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with an IPv6 address without brackets": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with a question mark": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with a fragment": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with a backslash": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with markup": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host above ASCII": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a Host with a tab": ("200 200; GET /a + GET /canary", "200 200; GET /a + GET /canary"),
            "a bad Host on HTTP/1.0": ("200; GET /a", "200; GET /a"),
        },
    ),
    (
        "9112 9.6, 9110 7.6.1: Connection is a list, and with close in it the connection ends after the "
        "response. gunicorn compares the whole value, and only of one field.",
        {
            "close among options": (SAME, "200 200; GET /a + GET /canary"),
            "close in a second field": (SAME, "200 200; GET /a + GET /canary"),
            "close after keep-alive": (SAME, "200 200; GET /a + GET /canary"),
            "close before keep-alive": (SAME, "200 200; GET /a + GET /canary"),
        },
    ),
    (
        "9112 9.3: HTTP/1.0 with keep-alive persists. uvicorn closes, which is allowed and slower.",
        {
            "HTTP/1.0 with keep-alive": ("200; GET /a", SAME),
            "HTTP/1.0 with Keep-Alive": ("200; GET /a", SAME),
            "HTTP/1.0 with keep-alive and a body": ("200; POST /a abc", SAME),
        },
    ),
    (
        "9110 10.1.1: an expectation that cannot be met MAY be a 417. To promise nothing is better than to "
        "promise all of them.",
        {
            "an unknown expectation": ("200 200; POST /a abc + GET /canary", SAME),
            "an expectation with a parameter": ("200 200; POST /a abc + GET /canary", SAME),
            "two expectations": ("200 200; POST /a abc + GET /canary", SAME),
            "an empty expectation": ("200 200; POST /a abc + GET /canary", SAME),
        },
    ),
    (
        "9110 7.8: a server may ignore Upgrade, and then goes on in HTTP/1.1. uvicorn's parser leaves HTTP at "
        "the field; body and later requests are lost. (gunicorn, with close in a list: as above.)",
        {
            "h2c": ("200, waits", SAME),
            "h2c with a body": ("200, waits", SAME),
            "h2c with chunks": ("200, waits", SAME),
            "h2c with a body and close": ("200; POST /a", "200 200; POST /a abc + GET /canary"),
            "h2c with chunks and close": ("200; POST /a", "200 200; POST /a abc + GET /canary"),
            "h2c with a body on HTTP/1.0": ("200; POST /a", SAME),
            "TLS": ("200, waits", SAME),
            "an unknown protocol": ("200, waits", SAME),
        },
    ),
    (
        "6455 4.1: a WebSocket handshake is a GET, and has no body. Otherwise the field is ignored (9110 "
        "7.8), and the request is what it is besides.",
        {
            "POST to a WebSocket": ("400; none", SAME),
            "a WebSocket with a body": ("403; none", SAME),
        },
    ),
    (
        "9110 7.8: Upgrade MUST be ignored on HTTP/1.0; keep-alive there goes by 9112 9.3.",
        {
            "a WebSocket on HTTP/1.0": ("200; GET /a", "200; GET /a"),
        },
    ),
    (
        "9112 8: a request is incomplete when the connection ends in it; it is not for an application. "
        "gunicorn hands a part of a body over as if it were the whole.",
        {
            "half-closed before a body": (SAME, "200; POST /a"),
            "half-closed in a body": (SAME, "200; POST /a abc"),
        },
    ),
    (
        "9112 8: a server MAY answer an incomplete request before it closes, or just close.",
        {
            "half-closed in the last chunk": (SAME, "400; none"),
            "half-closed in a trailer": (SAME, "400; none"),
        },
    ),
    (
        "9112 9.6: a client that has only shut its sending side down still reads. uvicorn closes when it sees "
        "the end, so it is a race whether its answer gets out. (gunicorn, in a second request's body: as "
        "above.)",
        {
            "half-closed after a request": (VARIES, SAME),
            "half-closed after two requests": (VARIES, SAME),
            "half-closed in a second request": (VARIES, SAME),
            "half-closed in a second request's body": (VARIES, "200 200; GET /a + POST /a abc"),
            "half-closed after a body": (VARIES, SAME),
            "half-closed after chunks": (VARIES, SAME),
        },
    ),
    (
        "6455 4.2.1: exactly one key, of sixteen bytes; else 400. wsproto, which uvicorn asks too, takes any.",
        {
            "a WebSocket with an empty key": ("403; none", SAME),
            "a WebSocket with a key that is none": ("403; none", SAME),
            "a WebSocket with two keys": ("403; none", SAME),
        },
    ),
    (
        "6455 4.2.2: a bad handshake gets an error status. In uvicorn the bytes that are no text end in an "
        "exception.",
        {
            "a WebSocket with an extension above ASCII": ("nothing; none", SAME),
            "a WebSocket with a protocol above ASCII": ("nothing; none", SAME),
            "a WebSocket to a host with an endless label": ("nothing; none", SAME),
        },
    ),
)

DIFFERENCES: Final = {name: both for _, cases in EXPLAINED for name, both in cases.items()}
