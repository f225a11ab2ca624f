"""The request line and Host: methods, targets, versions."""

# A table, one case per line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from dataclasses import replace
from typing import Final

from serve.hostile.case import Case, last, refused, served

HOST: Final = b" HTTP/1.1\r\nHost: a\r\n\r\n"


def line(name: str, request_line: bytes, section: str, status: int = 400) -> Case:
    return refused(name, request_line + b"\r\nHost: a\r\n\r\n", section, status)


def target(name: str, target: bytes, section: str, seen: str | None = None) -> Case:
    raw = b"GET " + target + HOST
    return refused(name, raw, section) if seen is None else served(name, raw, section, f"GET {seen}")


def host(name: str, lines: bytes, section: str, *, ok: bool = False, version: bytes = b"1.1") -> Case:
    raw = b"GET /a HTTP/" + version + b"\r\n" + lines + b"\r\n"
    if not ok:
        return refused(name, raw, section)
    return (served if version == b"1.1" else last)(name, raw, section, "GET /a")


METHODS: Final = (
    line("a method in lower case", b"get /a HTTP/1.1", "9110 9.1"),
    line("a method half in lower case", b"Get /a HTTP/1.1", "9110 9.1"),
    line("a method that nobody knows", b"FETCH /a HTTP/1.1", "9110 9.1"),
    line("a method that begins like GET", b"GETX /a HTTP/1.1", "9110 9.1"),
    line("a method with a sign that is none", b"G@T /a HTTP/1.1", "9112 3.1"),
    line("a method with a NUL", b"GE\0T /a HTTP/1.1", "9112 3.1"),
    line("a method above ASCII", b"G\xc9T /a HTTP/1.1", "9112 3.1"),
    line("no method", b" /a HTTP/1.1", "9112 3.1"),
    line("a method alone", b"GET", "9112 3"),
    line("a quoted method", b'"GET" /a HTTP/1.1', "9112 3.1"),
    served("a WebDAV method", b"PROPFIND /a" + HOST, "9110 9.1", "PROPFIND /a"),
    served("TRACE", b"TRACE /a" + HOST, "9110 9.3.8", "TRACE /a"),
    refused("CONNECT to an authority", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "9110 9.3.6", 501),
    refused("CONNECT to a path", b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3.2.3", 501),
    refused("CONNECT with a body", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "9110 9.3.6", 501),
    refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "9113 3.4"),
    refused("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "9112 3"),
    refused("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "9112 3"),
    refused("a PROXY line", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /a" + HOST, "9112 3"),
)

VERSIONS: Final = (
    refused("HTTP/0.9", b"GET /a\r\n\r\n", "9112 2.3", 505),
    line("HTTP/0.9 said", b"GET /a HTTP/0.9", "9110 2.5", 505),
    line("HTTP/1.2", b"GET /a HTTP/1.2", "9110 2.5"),
    line("HTTP/1.10", b"GET /a HTTP/1.10", "9112 2.3"),
    line("HTTP/1", b"GET /a HTTP/1", "9112 2.3"),
    line("HTTP/1.", b"GET /a HTTP/1.", "9112 2.3"),
    line("HTTP/01.1", b"GET /a HTTP/01.1", "9112 2.3"),
    line("HTTP/+1.1", b"GET /a HTTP/+1.1", "9112 2.3"),
    line("HTTP/1,1", b"GET /a HTTP/1,1", "9112 2.3"),
    line("HTTP/2.0", b"GET /a HTTP/2.0", "9110 2.5", 505),
    line("HTTP/3.0", b"GET /a HTTP/3.0", "9110 2.5"),
    line("HTTP/9.9", b"GET /a HTTP/9.9", "9110 2.5"),
    line("http/1.1", b"GET /a http/1.1", "9112 2.3"),
    line("HTTPS/1.1", b"GET /a HTTPS/1.1", "9112 2.3"),
    line("RTSP/1.0", b"OPTIONS /a RTSP/1.0", "9112 2.3"),
    line("RTSP/1.1", b"GET /a RTSP/1.1", "9112 2.3"),
    served("RTSP elsewhere", b"GET /RTSP/1.0 HTTP/1.1\r\nHost: a\r\nX: GET / RTSP/1.0\r\n\r\n", "9112 2.3", "GET /RTSP/1.0"),
    line("ICE/1.0", b"SOURCE /a ICE/1.0", "9112 2.3"),
    line("no version behind a space", b"GET /a ", "9112 3"),
    line("a space after the version", b"GET /a HTTP/1.1 ", "9112 3"),
    line("a word after the version", b"GET /a HTTP/1.1 x", "9112 3"),
    # "MAY instead parse on whitespace-delimited word boundaries": the parser takes spaces for one.
    served("two spaces before the target", b"GET  /a" + HOST, "9112 3", "GET /a"),
    served("two spaces after the target", b"GET /a " + HOST, "9112 3", "GET /a"),
    line("a tab before the target", b"GET\t/a HTTP/1.1", "9112 3"),
    line("a tab after the target", b"GET /a\tHTTP/1.1", "9112 3"),
)

PATHS: Final = (
    target("dots in a path", b"/a/../../etc/passwd", "9112 3.2.1", "/a/../../etc/passwd"),
    target("encoded dots", b"/%2e%2e/%2E%2e/a", "9112 3.2.1", "/%2e%2e/%2E%2e/a"),
    target("an encoded slash", b"/a%2fb", "9112 3.2.1", "/a%2fb"),
    target("an encoded NUL", b"/a%00b", "9112 3.2.1", "/a%00b"),
    target("an encoded line break", b"/a%0d%0aX:%20y", "9112 3.2.1", "/a%0d%0aX:%20y"),
    target("encoded bytes that are no UTF-8", b"/%ff%fe", "9112 3.2.1", "/%ff%fe"),
    target("an encoding cut short", b"/a%2", "3986 2.1", "/a%2"),
    target("an encoding of no digits", b"/a%zz", "3986 2.1", "/a%zz"),
    target("two slashes first", b"//evil.example/a", "9112 3.2.1", "//evil.example/a"),
    target("a backslash", b"/a\\b", "3986 3.3", "/a\\b"),
    target("signs that URIs do not have", b'/a"<>^`{|}', "3986 3.3", '/a"<>^`{|}'),
    target("an empty query", b"/a?", "9112 3.2.1", "/a"),
    target("two question marks", b"/a??b?c", "9112 3.2.1", "/a??b?c"),
    target("a question mark only", b"?a", "9112 3.2.1"),
    target("a path without a slash", b"a", "9112 3.2"),
    target("a dot", b".", "9112 3.2"),
    target("an empty target", b"", "9112 3"),
    target("a space in a target", b"/a b", "9112 3.2"),
    target("a fragment", b"/a#b", "9112 3.2"),
    target("a fragment after a query", b"/a?b#c", "9112 3.2"),
    target("a NUL in a target", b"/a\0b", "9112 3.2"),
    target("a control byte in a target", b"/a\x01b", "9112 3.2"),
    target("a vertical tab in a target", b"/a\x0bb", "9112 3.2"),
    target("a form feed in a target", b"/a\x0cb", "9112 3.2"),
    target("a tab in a target", b"/a\tb", "9112 3.2"),
    target("DEL in a target", b"/a\x7fb", "9112 3.2"),
    target("a bare CR in a target", b"/a\rb", "9112 3.2"),
    target("a bare LF in a target", b"/a\nb", "9112 3.2"),
    target("a target in UTF-8", b"/\xc3\xa9", "9112 3.2"),
    target("a byte above ASCII in a target", b"/\xff", "9112 3.2"),
    target("a byte above ASCII in a query", b"/a?\xff", "9112 3.2"),
)

FORMS: Final = (
    replace(target("an absolute target", b"http://b.example:80/a?c", "9112 3.2.2", "/a?c"), shows=(("host", "b.example:80"),)),
    replace(target("an absolute target without a path", b"http://b.example", "9112 3.2.2", "/"), shows=(("host", "b.example"),)),
    replace(target("an absolute target with a query only", b"http://b.example?c", "9112 3.2.2", "/?c"), shows=(("host", "b.example"),)),
    replace(target("an absolute target in capitals", b"HTTP://B.EXAMPLE/a", "9112 3.2.2", "/a"), shows=(("host", "B.EXAMPLE"),)),
    target("an absolute target without a host", b"http:///a", "9110 4.2.1"),
    target("an absolute target with a port only", b"http://:80/a", "9110 4.2.1"),
    target("an absolute target with user info", b"http://u:p@b/a", "9110 4.2.4"),
    target("an absolute target with a bad host", b"http://b<c>/a", "9112 3.2"),
    target("an absolute target of another scheme", b"ftp://b/a", "9112 3.2.2"),
    target("a file target", b"file:///etc/passwd", "9112 3.2.2"),
    target("a script target", b"javascript:alert(1)", "9112 3.2"),
    target("an absolute target with one slash", b"http:/b/a", "9112 3.2.2"),
    refused("an absolute target and no Host", b"GET http://b/a HTTP/1.1\r\n\r\n", "9112 3.2.2"),
    target("an authority for GET", b"a:80", "9112 3.2.3"),
    target("an asterisk for GET", b"*", "9112 3.2.4"),
    target("an asterisk path", b"/*", "9112 3.2.1", "/*"),
    served("an asterisk for OPTIONS", b"OPTIONS *" + HOST, "9112 3.2.4", "OPTIONS *"),
    refused("an asterisk and more for OPTIONS", b"OPTIONS *a" + HOST, "9112 3.2.4"),
)

HOSTS: Final = (
    host("no Host", b"", "9112 3.2"),
    host("no Host on HTTP/1.0", b"", "9112 3.2", ok=True, version=b"1.0"),
    host("an empty Host", b"Host:\r\n", "9112 3.2", ok=True),
    host("Host twice", b"Host: a\r\nHost: b\r\n", "9112 3.2"),
    host("the same Host twice", b"Host: a\r\nHost: a\r\n", "9112 3.2"),
    host("Host twice, spelled oddly", b"Host: a\r\nhOsT: b\r\n", "9112 3.2"),
    host("Host twice, both spelled oddly", b"HosT: a\r\nhOsT: b\r\n", "9112 3.2"),
    host("Host spelled oddly", b"hOsT: a\r\n", "9110 5.1", ok=True),
    host("Host twice on HTTP/1.0", b"Host: a\r\nHost: b\r\n", "9112 3.2", version=b"1.0"),
    host("a Host with a space", b"Host: a b\r\n", "9112 3.2"),
    host("a Host with a comma", b"Host: a,b\r\n", "9110 7.2", ok=True),
    host("a Host with a path", b"Host: a/b\r\n", "9112 3.2"),
    host("a Host with user info", b"Host: u@a\r\n", "9112 3.2"),
    host("a Host with a scheme", b"Host: http://a\r\n", "9112 3.2"),
    host("a Host with a port that is none", b"Host: a:80x\r\n", "9112 3.2"),
    host("a Host with two ports", b"Host: a:80:80\r\n", "9112 3.2"),
    host("a Host with an empty port", b"Host: a:\r\n", "9110 4.2.1", ok=True),
    host("a Host with a port", b"Host: a.example:8080\r\n", "9110 7.2", ok=True),
    host("a Host with an IPv6 address", b"Host: [2001:db8::1]:80\r\n", "9110 7.2", ok=True),
    host("a Host with an open bracket", b"Host: [2001:db8::1\r\n", "9112 3.2"),
    host("a Host with an IPv6 address without brackets", b"Host: 2001:db8::1\r\n", "9112 3.2"),
    host("a Host with a question mark", b"Host: a?b\r\n", "9112 3.2"),
    host("a Host with a fragment", b"Host: a#b\r\n", "9112 3.2"),
    host("a Host with a backslash", b"Host: a\\b\r\n", "9112 3.2"),
    host("a Host with markup", b"Host: <script>\r\n", "9112 3.2"),
    host("a Host above ASCII", b"Host: \xe9\r\n", "9112 3.2"),
    host("a Host with a tab", b"Host: a\tb\r\n", "9112 3.2"),
    host("a Host with an underscore", b"Host: a_b\r\n", "3986 3.2.2", ok=True),
    host("a Host with an encoded byte", b"Host: a%20b\r\n", "3986 3.2.2", ok=True),
    host("a bad Host on HTTP/1.0", b"Host: a/b\r\n", "9112 3.2", version=b"1.0"),
    host("a folded Host", b"Host:\r\n a\r\n", "9112 5.2"),
    host("Host before a colon with a space", b"Host : a\r\n", "9112 5.1"),
)

CASES: Final[tuple[Case, ...]] = (*METHODS, *VERSIONS, *PATHS, *FORMS, *HOSTS)
