"""Clients that take their time, or too much of anything, are bounded by settings, and nobody else notices them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from hitless.load import Load
from serve.clients import in_flight_now, place, state, url
from serve.service import Service, running, wait_for

PATIENCE_S: Final = 30.0
P50_MS: Final = 100.0
P99_MS: Final = 900.0
"""For the others meanwhile; a few milliseconds on an idle machine. Who had to wait for a slow client would wait for the
timeouts here, which are of a second and more."""
LARGE: Final = 64 * 1024 * 1024
APP: Final = """
BLOCK = b"x" * 65536

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
    blocks = 1024 if scope["path"] == "/large" else 1
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % (65536 * blocks if blocks > 1 else 2))]})
    for left in reversed(range(blocks)):
        await send({"type": "http.response.body", "body": BLOCK if blocks > 1 else b"ok", "more_body": left > 0})

def wsgi(environ, start_response):
    environ["wsgi.input"].read()
    blocks = 1024 if environ["PATH_INFO"] == "/large" else 1
    start_response("200 OK", [("Content-Length", str(65536 * blocks if blocks > 1 else 2))])
    return (BLOCK if blocks > 1 else b"ok" for _ in range(blocks))
"""

GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST: Final = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(tmp_path: Path, kind: str) -> Iterator[Any]:
    (tmp_path / "app.py").write_text(APP)
    started = []

    def start(**settings: Any) -> Service:
        context = running(tmp_path, app=f"app:{kind}", interface=kind, **settings)
        started.append(context)
        return context.__enter__()

    yield start
    for context in started:
        context.__exit__(None, None, None)


class Talker:
    """A client of raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def status(self) -> int:
        """Of the next response; 0 if the connection ends instead."""
        try:
            line = await asyncio.wait_for(self.reader.readline(), PATIENCE_S)
        except ConnectionError:
            return 0
        return int(line.split(b" ")[1]) if line else 0

    async def rest(self) -> bytes:
        """Until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def trickle(self, data: bytes, pause_s: float) -> None:
        """Byte by byte, as long as the server lets it."""
        for byte in data:
            if self.reader.at_eof() or self.writer.is_closing():
                return
            self.writer.write(bytes([byte]))
            await asyncio.sleep(pause_s)  # the pace of the attack


@asynccontextmanager
async def talkers(where: tuple[str, int], count: int = 1) -> AsyncIterator[list[Talker]]:
    made = [Talker(*await asyncio.open_connection(*where, family=socket.AF_INET)) for _ in range(count)]
    try:
        yield made
    finally:
        for talker in made:
            talker.writer.transport.abort()


async def refused(where: tuple[str, int], data: bytes) -> tuple[int, bytes]:
    """Status and the rest of what the server says before it closes."""
    async with talkers(where) as (client,):
        client.writer.write(data)
        return await client.status(), await client.rest()


@asynccontextmanager
async def others(where: tuple[str, int]) -> AsyncIterator[None]:
    """Honest clients, who must not notice anything."""
    async with Load(url(where), clients=8, think=(0, 0.05)) as load:
        await load.warm()
        yield
        await load.more(50)
    report = await load.stop()
    assert report.failed == 0, report.as_json()
    assert report.closed_by_server == 0, report.as_json()
    assert report.total.latency.p50_ms < P50_MS, report.as_json()
    assert report.total.latency.p99_ms < P99_MS, report.as_json()


async def test_slow_heads_and_bodies_end_in_408_while_others_are_served(start: Any) -> None:
    service = start(timeouts={"header": 1.0, "body": 1.0, "keep_alive": 60})
    where = place(service)
    endless = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Slow: yes\r\n" * 1000
    async with (
        others(where),
        talkers(where, 200) as heads,
        talkers(where, 100) as bodies,
        talkers(where, 50) as silent,
    ):
        trickling = [asyncio.create_task(client.trickle(endless, 0.05)) for client in heads]
        for client in bodies:
            client.writer.write(POST + b"Content-Length: 100\r\n\r\nabc")
        for client in silent:
            client.writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\na")
        answers = await asyncio.gather(*(client.status() for client in heads + bodies + silent))
        assert set(answers) == {408}
        await asyncio.gather(*trickling)
    wait_for(lambda: in_flight_now(service) == 0, PATIENCE_S, what="nothing is left of them")


async def test_a_body_that_trickles_takes_neither_threads_nor_turns_from_others(start: Any) -> None:
    service = start(threads=2, timeouts={"body": 5.0})
    where = place(service)
    async with talkers(where, 100) as slow:
        for client in slow:
            client.writer.write(POST + b"Content-Length: 20\r\n\r\n")
        trickling = [asyncio.create_task(client.trickle(b"x" * 20, 0.05)) for client in slow]
        async with others(where):
            await asyncio.gather(*trickling)
        assert {await client.status() for client in slow} == {200}


async def test_clients_that_take_nothing_of_their_response_are_cut_while_others_are_served(
    start: Any,
) -> None:
    service = start(threads=32, timeouts={"write": 1.0})
    where = place(service)
    slow = [socket.socket() for _ in range(20)]
    try:
        for sock in slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(where)
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        async with others(where):
            await asyncio.to_thread(
                wait_for, lambda: in_flight_now(service) <= 1, PATIENCE_S, what="they are cut"
            )
        for sock in slow:
            sock.settimeout(PATIENCE_S)
            assert _taken(sock) < LARGE
    finally:
        for sock in slow:
            sock.close()


def _taken(sock: socket.socket) -> int:
    taken = 0
    try:
        while block := sock.recv(65536):
            taken += len(block)
    except ConnectionResetError:
        pass
    return taken


async def test_heads_over_the_limit_are_431_or_414(start: Any) -> None:
    where = place(start(limits={"header_bytes": 4096, "headers": 20}))
    async with others(where):
        for request, status in (
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20 + b"\r\n", 431),
            (b"GET /" + b"y" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2_000_000, 431),
        ):
            found, rest = await refused(where, request)
            assert (found, b"connection: close" in rest) == (status, True)
        async with talkers(where) as (client,):
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 19 + b"\r\n")
            assert await client.status() == 200


async def test_bodies_over_the_limit_are_413_declared_or_not(start: Any) -> None:
    where = place(start(limits={"body_bytes": 1000}))
    async with others(where):
        for body in (
            b"Content-Length: 1001\r\n\r\n",
            b"Content-Length: 9000000000000000000\r\n\r\n",
            b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
            b"Content-Length: 2000000\r\n\r\n" + b"x" * 2_000_000,
            b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1001,
            b"Transfer-Encoding: chunked\r\n\r\n" + b"1e8480\r\n" + b"x" * 2_000_000,
        ):
            found, rest = await refused(where, POST + body)
            assert (found, b"connection: close" in rest) == (413, True)
        async with talkers(where) as (client,):
            client.writer.write(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000)
            assert await client.status() == 200


async def test_requests_over_the_limit_are_503_and_told_when_to_come_again(start: Any) -> None:
    service = start(limits={"concurrency": 2})
    where = place(service)
    async with talkers(where, 2) as held:
        for client in held:
            client.writer.write(POST + b"Content-Length: 3\r\n\r\n")
        await asyncio.to_thread(wait_for, lambda: in_flight_now(service) == 2, PATIENCE_S, what="it is full")
        status, rest = await refused(where, GET)
        assert status == 503
        assert b"retry-after: 1\r\n" in rest
        for client in held:
            client.writer.write(b"abc")
            assert await client.status() == 200
        async with talkers(where) as (client,):
            client.writer.write(GET)
            assert await client.status() == 200


async def test_connections_over_the_limit_wait_and_are_served_when_there_is_room(start: Any) -> None:
    service = start(limits={"connections": 10})
    where = place(service)
    async with talkers(where, 10) as first, talkers(where) as (waiting,):
        for client in first:
            client.writer.write(GET)
            assert await client.status() == 200
        waiting.writer.write(GET)
        worker = state(service)["generations"][0]["workers"][0]
        assert worker["connections"] == 10
        first[0].writer.close()
        assert await waiting.status() == 200
