"""Requests that must not be understood, or not be understood differently from how a proxy understands them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from serve.http.apps import Gate, describe, echo, hello
from serve.http.wire import GET, get, post

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "both lengths": (400, HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "both lengths, other order": (
        400,
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ),
    "two lengths": (400, HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    "the same length twice": (400, HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "a list of lengths": (400, HEAD + b"Content-Length: 3, 3\r\n\r\nabc"),
    "a signed length": (400, HEAD + b"Content-Length: +3\r\n\r\nabc"),
    "a negative length": (400, HEAD + b"Content-Length: -3\r\n\r\nabc"),
    "a hexadecimal length": (400, HEAD + b"Content-Length: 0x3\r\n\r\nabc"),
    "an empty length": (400, HEAD + b"Content-Length:\r\n\r\n"),
    "a length beyond all numbers": (400, HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n"),
    "a length with space inside": (400, HEAD + b"Content-Length: 1 2\r\n\r\nabc"),
    "chunked twice": (
        400,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunked, chunked": (400, HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "gzip, chunked": (501, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked, gzip": (400, HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "identity": (400, HEAD + b"Transfer-Encoding: identity\r\n\r\n"),
    "xchunked": (400, HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "an obscured chunked": (400, HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "space before the colon": (400, HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "a folded line": (400, HEAD + b"X-A: b\r\n c\r\n\r\n"),
    "a folded first line": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "a bare LF after a field": (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "bare LFs only": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a bare CR": (400, b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
    "NUL in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    "NUL in a name": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n"),
    "a field without a name": (400, b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n"),
    "a line without a colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    "HTTP/1.0 with chunked": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "two Hosts on 1.0": (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    "an unknown method": (400, b"FETCH / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method in lower case": (400, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with a space": (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target that is no path": (400, b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with raw bytes": (400, b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with a fragment": (400, b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an asterisk for GET": (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "another scheme": (400, b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "user info in the target": (400, b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT": (501, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /\r\n\r\n"),
    "HTTP/2's preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/1.2": (400, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "TLS to a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
}

BAD_CHUNKS = {
    "a size with a sign": b"+1\r\na\r\n0\r\n\r\n",
    "a size with 0x": b"0x1\r\na\r\n0\r\n\r\n",
    "a size with a space": b"1 \r\na\r\n0\r\n\r\n",
    "an empty size": b"\r\na\r\n0\r\n\r\n",
    "an endless size": b"fffffffffffffffff\r\na\r\n0\r\n\r\n",
    "a chunk that is too long": b"1\r\nab\r\n0\r\n\r\n",
    "bare LF": b"1\na\n0\n\n",
    "bare LF in an extension": b"1;a\nb\r\na\r\n0\r\n\r\n",
    "a length among the trailers": b"0\r\nContent-Length: 5\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_is_refused_and_the_connection_closed(serve: Any, name: str) -> None:
    status, request = REFUSED[name]
    gate = Gate()
    service = await serve(gate)
    client = await service.connect()
    await client.send(request + GET)
    reply = await client.reply()
    assert (reply.status, reply["connection"]) == (status, "close")
    assert await client.closed()
    assert gate.calls == 0


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_a_malformed_chunk_is_refused(serve: Any, name: str) -> None:
    service = await serve(echo)
    client = await service.connect()
    await client.send(CHUNKED + BAD_CHUNKS[name])
    reply = await client.reply()
    assert (reply.status, reply["connection"]) == (400, "close")
    await service.until(lambda: service.engine.in_flight == 0)


async def test_an_absolute_target_names_the_host(serve: Any) -> None:
    client = await (await serve(describe)).connect()
    for target, path in (
        ("http://b.example:80/x?y", "/x"),
        ("http://b.example:80", "/"),
        ("HTTP://b.example:80?y", "/"),
    ):
        scope = json.loads((await client.ask(get(target, "X: 1"))).body)
        assert scope["path"] == path
        assert scope["headers"] == [["host", "b.example:80"], ["x", "1"]]


async def test_options_may_ask_for_the_server_as_a_whole(serve: Any) -> None:
    scope = json.loads((await (await (await serve(describe)).connect()).ask(get("*", method="OPTIONS"))).body)
    assert scope["path"] == "*"


@pytest.mark.parametrize("framing", ["Content-Length: 2", "Transfer-Encoding: chunked"])
async def test_an_upgrade_that_is_not_spoken_here_is_ignored_body_and_all(serve: Any, framing: str) -> None:
    client = await (await serve(echo)).connect()
    lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x", framing)
    body = b"2\r\nab\r\n0\r\n\r\n" if "chunked" in framing else b"ab"
    for _ in range(2):
        assert (await client.ask(get("/", *lines, method="POST") + body)).body == b"ab"
    assert (await client.ask(get("/", *lines[:3]))).body == b""
    assert (await client.ask()).status == 200


async def test_an_overlong_head_is_431(serve: Any) -> None:
    service = await serve(hello, header_bytes=2000)
    assert (await (await service.connect()).ask(get("/", "X: " + "y" * 1900))).status == 200
    client = await service.connect()
    assert (await client.ask(get("/", "X: " + "y" * 2000))).status == 431
    assert await client.closed()
    client = await service.connect()
    await client.send(b"GET /" + b"y" * 2500)
    assert (await client.reply()).status == 414


async def test_too_many_fields_are_431(serve: Any) -> None:
    service = await serve(hello, headers=10)
    assert (await (await service.connect()).ask(get("/", *["X: y"] * 9))).status == 200
    assert (await (await service.connect()).ask(get("/", *["X: y"] * 10))).status == 431


async def test_a_body_over_the_limit_is_413(serve: Any) -> None:
    service = await serve(echo, body_bytes=10)
    assert (await (await service.connect()).ask(post(b"x" * 10))).status == 200
    assert (await (await service.connect()).ask(post(b"x" * 11))).status == 413
    client = await service.connect()
    await client.send(CHUNKED + b"6\r\nabcdef\r\n")
    await service.until(lambda: service.engine.in_flight == 1)
    await client.send(b"6\r\nabcdef\r\n")
    reply = await client.reply()
    assert (reply.status, reply["connection"]) == (413, "close")
    await service.until(lambda: service.engine.in_flight == 0)


async def test_an_error_reply_reaches_a_client_that_is_still_sending(serve: Any) -> None:
    service = await serve(echo, body_bytes=10)
    client = await service.connect()
    await client.send(post(b"x" * 1_000_000))
    assert (await client.reply()).status == 413
    assert await client.closed()


async def test_a_body_of_framing_only_is_refused(serve: Any) -> None:
    service = await serve(echo, header_bytes=2000)
    client = await service.connect()
    await client.send(CHUNKED + b"1;" + b"x" * 10_000)
    assert (await client.reply()).status == 400


async def test_a_slow_head_is_408(serve: Any) -> None:
    client = await (await serve(hello, header_timeout=0.05)).connect()
    await client.send(b"GET / HT")
    reply = await client.reply()
    assert (reply.status, reply["connection"]) == (408, "close")
    assert await client.closed()


async def test_a_slow_drip_of_a_head_is_408(serve: Any) -> None:
    service = await serve(hello, header_timeout=0.1)
    client = await service.connect()

    async def drip() -> None:
        for byte in get("/", *["X: y"] * 200):
            await client.send(bytes([byte]))
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    assert (await client.reply()).status == 408
    dripping.cancel()


async def test_a_body_that_stops_is_408(serve: Any) -> None:
    service = await serve(echo, body_timeout=0.05)
    client = await service.connect()
    await client.send(post(b"x" * 10)[:-1])
    assert (await client.reply()).status == 408
    await service.until(lambda: service.engine.in_flight == 0)


async def test_an_idle_connection_is_closed_without_a_word(serve: Any) -> None:
    service = await serve(hello, keep_alive=0.05)
    client = await service.connect()
    await client.ask()
    assert await client.closed()
    assert await (await service.connect()).closed()


async def test_empty_lines_alone_get_no_reply(serve: Any) -> None:
    client = await (await serve(hello, header_timeout=0.05)).connect()
    await client.send(b"\r\n")
    assert await client.closed()


async def test_an_empty_line_before_a_request_is_skipped(serve: Any) -> None:
    client = await (await serve(hello)).connect()
    assert (await client.ask(b"\r\n" + GET)).status == 200
    await client.send(post(b"abc") + b"\r\n" + GET)
    assert (await client.reply()).status == (await client.reply()).status == 200


async def test_a_client_that_takes_nothing_is_cut(serve: Any) -> None:
    service = await serve(_endless, write_timeout=0.1)
    client = await service.connect(buffer=4096)
    await client.send(GET)
    await client.head()
    await service.until(lambda: not service.engine.connections and not service.engine.in_flight)


async def _endless(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200})
    left = asyncio.create_task(receive())
    while not left.done():
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})


async def test_more_requests_than_allowed_get_503(serve: Any) -> None:
    gate = Gate()
    service = await serve(gate, concurrency=1)
    first, second = await service.connect(), await service.connect()
    await first.send(GET)
    await gate.asked.wait()
    reply = await second.ask()
    assert (reply.status, reply["retry-after"], reply["connection"]) == (503, "1", "close")
    gate.open.set()
    assert (await first.reply()).status == 200
    assert (await (await service.connect()).ask()).status == 200


async def test_a_reset_in_the_middle_of_anything_leaves_nothing_behind(serve: Any) -> None:
    service = await serve(echo)
    for part in (b"GET", GET, post(b"abc")[:-1], CHUNKED + b"5\r\nab"):
        client = await service.connect()
        await client.send(part)
        await service.until(lambda: service.engine.connections)
        client.reset()
        await service.until(lambda: not service.engine.connections)
    await service.until(lambda: service.engine.in_flight == 0)


async def test_a_blocked_loop_does_not_punish_clients(serve: Any) -> None:
    import time

    service = await serve(hello, keep_alive=0.2)
    client = await service.connect()
    await client.ask()
    await client.send(GET)
    time.sleep(0.5)  # noqa: ASYNC251 - that is what this is about
    assert (await client.reply()).status == 200
