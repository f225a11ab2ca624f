"""The reader of requests, by itself and against random bytes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitless.serve.http.errors import RequestRefused
from hitless.serve.http.reader import RequestReader
from serve.http.wire import GET, get, post

H2C = ("Connection: Upgrade", "Upgrade: h2c")
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"5\r\n\r\n\r\n\r\r\n4;x=y\r\n\r\n\r\n\r\n1\r\na\r\n0\r\nT: x\r\nU:\r\n\r\n"

MESSAGES = [
    GET,
    get("/a?b", "X-Empty:", "X: y", "X-Empty:"),
    post(b"\r\n\r\n" * 5),
    post(b""),
    b"\r\n\r\n" + GET,
    get("/", CHUNKED, method="POST") + CHUNKS,
    get("/", *H2C, "Content-Length: 4", method="POST") + b"\r\n\r\n",
    get("/", *H2C, CHUNKED, method="POST") + CHUNKS,
    get("/", *H2C),
    get("/", "Connection: keep-alive", version="1.0"),
]


def reader(**limits: Any) -> RequestReader:
    return RequestReader(**{"header_bytes": 65536, "headers": 256, "body_bytes": None, **limits})


def read_all(pieces: list[bytes]) -> list[tuple[Any, ...]]:
    """Every message in the pieces, as a connection would read them."""
    found, parser, body, kept = [], reader(), b"", b""
    for piece in pieces:
        kept += piece
        while kept:
            kept = parser.feed(kept)
            body += parser.take()
            if not parser.complete:
                assert kept == b""
                break
            found.append(
                (parser.method, parser.target, parser.version, parser.keep_alive, parser.fields, body)
            )
            parser.reset()
            body = b""
    assert not parser.begun
    return found


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places) if start < end]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(range(len(MESSAGES))), min_size=1, max_size=4),
    st.lists(st.integers(min_value=0, max_value=10_000), max_size=12),
)
def test_it_makes_no_difference_where_the_network_splits_requests(
    numbers: list[int], cuts: list[int]
) -> None:
    data = b"".join(MESSAGES[number] for number in numbers)
    alone = [read_all([MESSAGES[number]])[0] for number in numbers]
    assert read_all([data]) == alone
    assert read_all(split(data, cuts)) == alone


@pytest.mark.parametrize("message", MESSAGES)
def test_a_request_may_come_byte_by_byte(message: bytes) -> None:
    data = message + GET
    assert read_all([data[at : at + 1] for at in range(len(data))]) == read_all([data])


@pytest.mark.parametrize("message", MESSAGES)
def test_nothing_is_read_past_the_end_of_a_message(message: bytes) -> None:
    parser = reader()
    assert parser.feed(message + b"what follows") == b"what follows"
    assert parser.complete


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_garbage_is_refused_or_waited_for_but_never_an_error(pieces: list[bytes]) -> None:
    parser = reader(header_bytes=100)
    for piece in pieces:
        try:
            parser.feed(piece)
        except RequestRefused:
            break
        if parser.complete:
            break


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(MESSAGES), st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_damaged_request_is_refused_or_waited_for_but_never_an_error(
    message: bytes, at: int, damage: bytes
) -> None:
    at %= len(message)
    parser = reader()
    rest = message[:at] + damage + message[at + len(damage) :]
    try:
        while rest:
            rest = parser.feed(rest)
            if not parser.complete:
                break
            parser.reset()
    except RequestRefused:
        pass


def test_a_flood_of_line_ends_takes_linear_time() -> None:
    parser = reader()
    body = b"\r\n\r\n" * 65536
    parser.feed(get("/", CHUNKED, method="POST") + b"%x\r\n" % len(body) + body)
    assert parser.held == len(body)


def test_a_body_is_never_longer_than_it_was_said_to_be() -> None:
    parser = reader()
    assert parser.feed(post(b"abc") + b"defg") == b"defg"
    assert parser.take() == b"abc"
