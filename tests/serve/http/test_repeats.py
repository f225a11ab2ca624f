"""A request whose fields repeat is understood as if it had been parsed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitless.serve.http.errors import RequestRefused
from hitless.serve.http.reader import RequestReader

LINES = [
    b"GET / HTTP/1.1",
    b"GET /a?b=c HTTP/1.1",
    b"HEAD /%41/../x HTTP/1.1",
    b"DELETE /images/7 HTTP/1.1",
    b"POST / HTTP/1.1",
    b"PUT /x HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET  / HTTP/1.1",
    b"get / HTTP/1.1",
    b"GET /#x HTTP/1.1",
    b"GET http://h/ HTTP/1.1",
    b"GET * HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET /\xff HTTP/1.1",
    b"GET /a b HTTP/1.1",
    b"GET / RTSP/1.0",
    b"\r\nGET / HTTP/1.1",
]
BLOCKS = [
    b"\r\nHost: h\r\n\r\n",
    b"\r\nHost: h\r\nAccept: */*\r\nCookie: a=b\r\n\r\n",
    b"\r\nHost: other\r\n\r\n",
    b"\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
    b"\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    b"\r\nHost: h\r\nX-Request-ID: 1\r\n\r\n",
    b"\r\nHost: h\r\nHost: h\r\n\r\n",
    b"\r\n\r\n",
    b"\r\nHost: h\r\nX: " + b"y" * 3000 + b"\r\n\r\n",
]


def new_reader() -> RequestReader:
    return RequestReader(header_bytes=65536, headers=256, body_bytes=None)


def understood(reader: RequestReader, data: bytes) -> Any:
    """What a reader makes of one message, and whether the connection is good for another."""
    try:
        rest = reader.feed(data)
    except RequestRefused as refusal:
        return refusal.status, refusal.why
    if not reader.complete:
        return "incomplete", reader.headed
    found = (
        reader.method,
        reader.target,
        reader.version,
        reader.keep_alive,
        list(reader.fields),
        reader.marked,
        reader.upgrade,
        rest,
    )
    reader.fields.append((b"the application", b"changes what it was given"))
    reader.reset()
    return found


@given(st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(BLOCKS)), min_size=1, max_size=12))
def test_a_connection_understands_each_request_as_a_new_connection_would(
    requests: list[tuple[bytes, bytes]],
) -> None:
    reader = new_reader()
    for line, block in requests:
        here = understood(reader, line + block)
        assert here == understood(new_reader(), line + block)
        if isinstance(here[0], int) or here[0] == "incomplete" or not here[3]:
            return  # this connection would be closed


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_repeated_request_that_comes_in_two_pieces_is_put_together(cut: int) -> None:
    reader, data = new_reader(), b"GET /abc HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n"
    whole = understood(reader, data)
    assert reader.feed(data[:cut]) == b""
    assert understood(reader, data[cut:]) == whole
    assert understood(reader, data) == whole


def test_a_repeated_head_over_the_limit_is_refused() -> None:
    reader = RequestReader(header_bytes=100, headers=10, body_bytes=None)
    block = b" HTTP/1.1\r\nHost: h\r\n\r\n"
    assert understood(reader, b"GET /" + block)[1] == b"/"
    with pytest.raises(RequestRefused) as refused:
        reader.feed(b"GET /" + b"a" * 100 + block)
    assert refused.value.status in (414, 431)
