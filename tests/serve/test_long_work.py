from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hitless.load.long import Ending, EventStream, WebSocket, slow_download, slow_upload
from serve.service import Service, running

APP = """
import asyncio, hashlib, os

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            await send({"type": "websocket.send", "text": message["text"]})
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    start = {"type": "http.response.start", "status": 200}
    if scope["path"] == "/events":
        await send({**start, "headers": [(b"content-type", b"text/event-stream")]})
        gone = asyncio.ensure_future(receive_disconnect(receive))
        number = 0
        while not gone.done():
            number += 1
            await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % number, "more_body": True})
            await asyncio.wait([gone], timeout=0.05)
        await send({"type": "http.response.body"})
        return
    if scope["path"] == "/download":
        size = 4_000_000
        await send({**start, "headers": [(b"content-length", str(size).encode())]})
        for _ in range(size // 40_000):
            await send({"type": "http.response.body", "body": b"d" * 40_000, "more_body": True})
        await send({"type": "http.response.body"})
        return
    digest, more = hashlib.sha256(), True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)
    await send({**start, "headers": []})
    await send({"type": "http.response.body", "body": digest.hexdigest().encode() + b" %d" % os.getpid()})

async def receive_disconnect(receive):
    while (await receive())["type"] != "http.disconnect":
        pass
"""

SECONDS = 60.0


async def reload_until(service: Service, work: list[asyncio.Task[Any]], *, every_s: float) -> int:
    """Reloads again and again until all of `work` is done; returns how often."""
    times = 0
    while not all(task.done() for task in work):
        result = await asyncio.to_thread(service.reload)
        assert result.code == 0, result.out + result.err
        times += 1
        await asyncio.wait(work, timeout=every_s)
    return times


async def finished(work: dict[str, Coroutine[Any, Any, Ending]], service: Service, *, every_s: float) -> int:
    tasks = {name: asyncio.create_task(coroutine) for name, coroutine in work.items()}
    reloads = await reload_until(service, list(tasks.values()), every_s=every_s)
    for name, task in tasks.items():
        assert task.result().survived, f"{name}: {task.result()}\n{service.log}"
    return reloads


async def test_an_upload_a_download_a_stream_and_a_websocket_of_a_minute_survive_reloads(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path, workers=2, drain__timeout="200s", drain__stream="100s") as service:
        host, port = service.address
        url = f"http://{host}:{port}"
        stream = EventStream(f"{url}/events", enough=int(SECONDS * 15))
        async with await WebSocket.open(f"http://{host}:{port}/ws") as websocket:
            work = {
                "upload": slow_upload(f"{url}/upload", size=3_000_000, seconds=SECONDS),
                "chunked upload": slow_upload(f"{url}/upload", size=1_000_000, seconds=SECONDS, chunked=True),
                "download": slow_download(f"{url}/download", seconds=SECONDS, size=4_000_000),
                "websocket": websocket.echo(times=int(SECONDS * 5), every_s=0.2),
                "event stream": stream.run(SECONDS * 2),
            }
            reloads = await finished(work, service, every_s=8.0)
        assert reloads >= 3, "as many as there is time for, eight seconds apart"


async def test_streams_are_told_to_end_when_the_drain_says_so(tmp_path: Path) -> None:
    """Clients of streams are told in their protocol's own words, so that they reconnect, and the drain ends."""
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path, drain__timeout="30s", drain__stream="300ms", drain__spread="200ms") as service:
        host, port = service.address
        stream = EventStream(f"http://{host}:{port}/events", enough=10_000)
        running_stream = asyncio.create_task(stream.run(30.0))
        async with await WebSocket.open(f"http://{host}:{port}/ws") as websocket:
            echo = asyncio.create_task(websocket.echo(times=1000, every_s=0.05))
            assert (await asyncio.to_thread(service.reload)).code == 0
            ending = await echo
            assert "1012" in ending.reason, ending
        ended = await running_stream
        assert ended.reason == "ended by the server", ended
        service.await_log("drain generation=1 change=2 ended")
        assert "connection.cut" not in service.log


async def split(service: Service, pieces: list[bytes]) -> bytes:
    """Sends a request in `pieces`, with a reload between them, and a second request on the same connection."""
    loop = asyncio.get_running_loop()
    with socket.create_connection(service.address) as sock:
        sock.setblocking(False)
        for number, piece in enumerate(pieces):
            if number:
                assert (await asyncio.to_thread(service.reload)).code == 0
            await loop.sock_sendall(sock, piece)
        first = await read_response(sock)
        await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        second = await read_response(sock)
        assert second.startswith(b"HTTP/1.1 200"), second
        assert first.rpartition(b" ")[2] != second.rpartition(b" ")[2], (
            "the next request went to the new generation"
        )
        return first


async def read_response(sock: socket.socket) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(20):
        while b"\r\n\r\n" not in data:
            data += await received(loop, sock)
        head, _, body = data.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            while not body.endswith(b"0\r\n\r\n"):
                body += await received(loop, sock)
            body = body.split(b"\r\n")[1]
        else:
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += await received(loop, sock)
        assert b"connection: close" not in head.lower()
        return head + b"\r\n\r\n" + body


async def received(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = await loop.sock_recv(sock, 65536)
    assert data, "the server closed the connection"
    return data


async def test_a_head_and_a_body_split_across_the_drain_are_answered_and_the_connection_moves_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(APP)
    body = b"b" * 5000
    digest = hashlib.sha256(body).hexdigest().encode()
    whole = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + body
    with running(tmp_path, workers=2) as service:
        for cut in (1, 10, 45, len(whole) - 4000, len(whole) - 1):
            answer = await split(service, [whole[:cut], whole[cut:]])
            assert digest in answer
        assert digest in await split(service, [whole[:7], whole[7:60], whole[60:]])
