"""Long work reports that it survived, or exactly what cut it."""

from __future__ import annotations

import hashlib
from random import Random

import pytest
import websockets

from hitless.load.long import EventStream, Lost, WebSocket, slow_download, slow_upload

CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_slow_upload_arrives_whole_and_takes_its_time(serve, chunked):
    arrived = []

    async def handler(peer):
        head, body = await peer.request()
        arrived.append((b"chunked" in head.lower(), hashlib.sha256(body).hexdigest()))
        await peer.send(CREATED)

    seen = []
    ending = await slow_upload(
        await serve(handler), size=100_001, seconds=0.3, pieces=10, chunked=chunked, on_progress=seen.append
    )
    assert ending.survived, ending.reason
    assert (ending.status, ending.size) == (201, 100_001)
    assert ending.sha256 == hashlib.sha256(Random(0).randbytes(100_001)).hexdigest()
    assert arrived == [(chunked, ending.sha256)]
    assert 0.25 < ending.seconds < 3
    assert len(seen) == 10


@pytest.mark.parametrize("how", ["eof", "rst"])
async def test_an_upload_that_is_cut_says_how(serve, how):
    async def handler(peer):
        await peer.reader.readexactly(5000)
        if how == "rst":
            peer.reset()

    ending = await slow_upload(await serve(handler), size=100_000, seconds=5, pieces=50)
    assert not ending.survived
    assert ending.reason in (how, "rst")  # unread data turns the server's close into an RST
    assert ending.seconds < 3


async def test_an_upload_that_is_answered_too_early_ends_with_that_answer(serve):
    async def handler(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await peer.reader.read()

    ending = await slow_upload(await serve(handler), size=100_000, seconds=5)
    assert ending.reason == "status 503 before the end of the body"
    assert (ending.status, ending.closing) == (503, True)


async def test_an_upload_to_nobody_is_refused(tmp_path):
    ending = await slow_upload(f"unix:{tmp_path}/none", size=1, seconds=0)
    assert ending.reason.startswith("refused")


async def test_a_slow_download_arrives_whole_and_takes_its_time(serve):
    body = Random(1).randbytes(200_000)

    async def handler(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    ending = await slow_download(await serve(handler), seconds=0.3, size=len(body))
    assert ending.survived, ending.reason
    assert ending.sha256 == hashlib.sha256(body).hexdigest()
    assert 0.25 < ending.seconds < 3


async def test_a_download_that_is_cut_says_how_much_came(serve):
    async def handler(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 400)

    ending = await slow_download(await serve(handler), seconds=0, size=1000)
    assert (ending.reason, ending.size) == ("eof", 400)


async def test_events_are_read_until_there_are_enough(serve):
    async def handler(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(100):
            event = b"id: %d\nevent: tick\ndata: a\ndata: b%d\n\n: comment\n\n" % (number, number)
            await peer.send(b"%x\r\n%b\r\n" % (len(event), event))

    stream = EventStream(await serve(handler), enough=3)
    ending = await stream.run(5)
    assert ending.survived
    assert ending.messages == 3
    assert [(event.id, event.kind, event.data) for event in stream.events] == [
        ("0", "tick", "a\nb0"),
        ("1", "tick", "a\nb1"),
        ("2", "tick", "a\nb2"),
    ]


@pytest.mark.parametrize(("last", "reason"), [(b"0\r\n\r\n", "ended by the server"), (b"", "eof")])
async def test_an_event_stream_that_ends_in_order_is_told_from_one_that_is_cut(serve, last, reason):
    async def handler(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n" + last)

    ending = await EventStream(await serve(handler), enough=3).run(5)
    assert (ending.reason, ending.messages) == (reason, 1)


async def test_a_silent_event_stream_ends_at_the_deadline(serve):
    async def handler(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.request()

    assert (await EventStream(await serve(handler), enough=1).run(0.1)).reason == "deadline"


async def test_a_websocket_echoes_until_done():
    async def echo(socket):
        async for message in socket:
            await socket.ping()
            await socket.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with await WebSocket.open(f"http://127.0.0.1:{port}/") as socket:
            ending = await socket.echo(times=5, every_s=0.01)
    assert ending.survived, ending.reason
    assert ending.messages == 5


async def test_a_websocket_that_is_closed_says_with_which_code_and_words():
    async def restart(socket):
        await socket.recv()
        await socket.close(1012, "service restart")

    async with websockets.serve(restart, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with await WebSocket.open(f"http://127.0.0.1:{port}/") as socket:
            assert (await socket.echo(times=5, every_s=0.01)).reason == "closed 1012 service restart"


async def test_a_websocket_that_is_cut_says_so(serve):
    async def handler(peer):
        await peer.request()

    with pytest.raises(Lost, match="eof"):
        await WebSocket.open(await serve(handler))


async def test_a_rejected_websocket_says_the_status(serve):
    async def handler(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await peer.request()

    with pytest.raises(Lost, match="status 403"):
        await WebSocket.open(await serve(handler))
