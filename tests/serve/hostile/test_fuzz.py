"""Whatever bytes come, and however they are cut, the connection layer reads the same requests out of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from serve.hostile.case import CANARY
from serve.hostile.corpus import BY_NAME
from serve.hostile.wireless import Request, Seen, run

STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)")
SPACES = re.compile(rb"^(\S+) +(\S+) +(HTTP/1\.[01]\r\n)")
SHORT = [case.raw for case in BY_NAME.values() if 0 < len(case.raw) < 1000]
LINES = sorted({line for raw in SHORT for line in raw.split(b"\r\n")[1:] if 0 < len(line) < 200})
GOOD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /b?c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: r\r\n\r\n",
    b"HEAD /d HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n",
    b"PUT /e HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab",
    b"POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
    b"GET http://b.example/g HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /h HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"POST /i HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
]
SPLICES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b"0",
    b"\xff",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    CANARY,
]


@st.composite
def streams(draw: Any) -> bytes:
    """Some requests in a row, hurt in some places."""
    parts = draw(st.lists(st.sampled_from(GOOD) | st.sampled_from(SHORT), min_size=1, max_size=5))
    data = bytearray(b"".join(parts))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 8))
        match draw(st.sampled_from(["delete", "double", "insert", "replace", "splice", "line"])):
            case "delete":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + 4 * size]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "replace":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "splice":
                data[at:at] = draw(st.sampled_from(SPLICES))
            case "line":
                end = data.find(b"\r\n", at)
                if end >= 0:
                    data[end:end] = b"\r\n" + draw(st.sampled_from(LINES))
    return bytes(data)


@st.composite
def cuts(draw: Any) -> tuple[bytes, list[int]]:
    """A stream, and places to cut it; none: after every byte."""
    data = draw(streams())
    if draw(st.booleans()) and len(data) < 600:
        return data, []
    return data, sorted(draw(st.lists(st.integers(0, len(data)), min_size=1, max_size=12)))


def pieces(data: bytes, places: list[int]) -> list[bytes]:
    places = places or list(range(1, len(data)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def fuzzed(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples < 10_000,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )


def reference(data: bytes) -> list[Request]:
    """The requests that h11 reads out of a stream, up to the first that it refuses; a connection for each, because
    h11 does not keep HTTP/1.0 alive and stops at an Upgrade. What it refuses and we may take (RFC 9112, 2.2 and 3):
    empty lines before a request, even of half a line break, and several spaces in the request line.
    """
    found: list[Request] = []
    while True:
        data = SPACES.sub(rb"\1 \2 \3", data.lstrip(b"\r\n"))
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
        connection.receive_data(data)
        request, body = None, b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return found
        except h11.RemoteProtocolError:
            return found
        assert request is not None
        found.append((request.method.decode(), request.target, tuple(request.headers), body))
        data = connection.trailing_data[0]


def essence(request: Request) -> tuple[str, bytes, bytes]:
    """What must be the same in every reading: method, target (in origin form), body."""
    method, target, _, body = request
    scheme, found, rest = target.partition(b"://")
    if found and scheme.lower() in (b"http", b"https"):
        cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        target = rest[cut:] if rest[cut : cut + 1] == b"/" else b"/" + rest[cut:]
    return method, target.removesuffix(b"?"), body


def classes(seen: Seen) -> list[str]:
    """Of the final responses. Which error it is may depend on the cut: whichever is seen first."""
    return ["error" if status >= b"400" else "success" for status in STATUS.findall(seen.written)]


def healthy(seen: Seen) -> None:
    assert seen.unhandled == []
    assert seen.left == []


def judge(runner: asyncio.Runner, data: bytes, places: list[int]) -> None:
    whole = runner.run(run([data]))
    healthy(whole)
    cut = runner.run(run(pieces(data, places)))
    healthy(cut)
    assert cut.requests == whole.requests
    assert classes(cut) == classes(whole)
    strict = [essence(request) for request in reference(data)]
    ours = [essence(request) for request in whole.requests]
    assert ours == strict[: len(ours)]
    unread = runner.run(run(pieces(data, places), reads=False))
    healthy(unread)


@given(cut=cuts())
@fuzzed(1500)
def test_what_the_application_sees_does_not_depend_on_how_the_bytes_were_cut(
    runner: asyncio.Runner, cut: tuple[bytes, list[int]]
) -> None:
    judge(runner, *cut)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@given(cut=cuts())
@fuzzed(30_000)
def test_nor_does_it_in_many_more_streams(runner: asyncio.Runner, cut: tuple[bytes, list[int]]) -> None:
    judge(runner, *cut)


@pytest.mark.parametrize(
    "case", [one for one in BY_NAME.values() if len(one.raw) < 1000], ids=lambda one: one.name
)
def test_a_hostile_case_byte_by_byte_is_the_case_as_a_whole(runner: asyncio.Runner, case: Any) -> None:
    stream = case.stream
    whole = runner.run(run([stream]))
    cut = runner.run(run(pieces(stream, [])))
    healthy(whole)
    healthy(cut)
    assert cut.requests == whole.requests
