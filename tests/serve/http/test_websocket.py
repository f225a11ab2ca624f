"""WebSockets, from the client of another library and by raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serve.http.apps import answer
from serve.http.wire import PATIENCE, Service, Taker, get

HANDSHAKE = get(
    "/",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class Echo:
    """Sends every message back; remembers what it was told."""

    def __init__(self, **accept: Any) -> None:
        self.accept = accept
        self.scope: Any = None
        self.told: list[Any] = []
        self.done = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", **self.accept})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        self.told.append(message)
        assert (await receive())["type"] == "websocket.disconnect"
        self.done.set()


@pytest.fixture
async def open_socket() -> AsyncIterator[Any]:
    sockets: list[ClientConnection] = []

    async def start(service: Service, path: str = "/", **options: Any) -> ClientConnection:
        host, port = service.address
        options.setdefault("compression", None)
        client = await connect(f"ws://{host}:{port}{path}", proxy=None, **options)
        sockets.append(client)
        return client

    yield start
    for client in sockets:
        client.transport.abort()


async def _code(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(client.recv(), PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def test_messages_go_both_ways(serve: Any, open_socket: Any) -> None:
    app = Echo(subprotocol="b", headers=[(b"x-extra", b"1")])
    service = await serve(app)
    client = await open_socket(
        service, "/chat?x=1", subprotocols=["a", "b"], additional_headers={"X-Mine": "2"}
    )
    assert client.subprotocol == "b"
    assert client.response.headers["x-extra"] == "1"
    for message in ("text", "é" * 1000, b"bytes", b"x" * 200_000, "", b""):
        await client.send(message)
        assert await client.recv() == message
    scope = app.scope
    assert (scope["type"], scope["scheme"], scope["path"], scope["query_string"]) == (
        "websocket",
        "ws",
        "/chat",
        b"x=1",
    )
    assert scope["subprotocols"] == ["a", "b"]
    assert (b"x-mine", b"2") in scope["headers"]
    assert "websocket.http.response" in scope["extensions"]
    assert "method" not in scope
    assert service.engine.counters.websockets == 1
    assert service.engine.describe()[0]["kind"] == "websocket"


async def test_fragments_are_joined_and_pings_answered(serve: Any, open_socket: Any) -> None:
    client = await open_socket(await serve(Echo()))

    async def fragments() -> AsyncIterator[str]:
        yield "one"
        await asyncio.wait_for(await client.ping(), PATIENCE)
        yield "two"

    await client.send(fragments())
    assert await client.recv() == "onetwo"


async def test_the_client_s_close_is_told_with_code_and_reason(serve: Any, open_socket: Any) -> None:
    app = Echo()
    service = await serve(app)
    client = await open_socket(service)
    await client.close(4001, "bye")
    await asyncio.wait_for(app.done.wait(), PATIENCE)
    assert app.told == [{"type": "websocket.disconnect", "code": 4001, "reason": "bye"}]
    await service.until(lambda: not service.engine.connections)


async def test_a_close_without_a_code_is_1005(serve: Any) -> None:
    app = Echo()
    client = await (await serve(app)).connect()
    await client.send(HANDSHAKE)
    assert (await client.head()).status == 101
    await client.send(b"\x88\x80\0\0\0\0")
    await asyncio.wait_for(app.done.wait(), PATIENCE)
    assert app.told[0]["code"] == 1005
    assert await client.rest() == b"\x88\x00"


async def test_a_lost_connection_is_1006(serve: Any) -> None:
    app = Echo()
    client = await (await serve(app)).connect()
    await client.send(HANDSHAKE)
    await client.head()
    client.reset()
    await asyncio.wait_for(app.done.wait(), PATIENCE)
    assert app.told[0]["code"] == 1006


async def test_the_application_s_close_reaches_the_client(serve: Any, open_socket: Any) -> None:
    later: asyncio.Queue[Any] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4002, "reason": "enough"})
        later.put_nowait(await receive())
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.send", "text": "too late"})
        later.put_nowait(None)

    client = await open_socket(await serve(app))
    assert await _code(client) == (4002, "enough")
    assert (await later.get())["code"] == 4002
    assert await later.get() is None


async def test_a_rejected_handshake_is_403(serve: Any, open_socket: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})

    service = await serve(app)
    with pytest.raises(InvalidStatus, match="403"):
        await open_socket(service)
    assert service.errors() == []


async def test_a_handshake_may_be_denied_with_a_response(serve: Any, open_socket: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]})
        await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"are you"})

    with pytest.raises(InvalidStatus) as caught:
        await open_socket(await serve(app))
    response = caught.value.response
    assert (response.status_code, response.headers["x-why"]) == (401, "no")


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_application_that_raises_closes_with_1011_or_500(
    serve: Any, open_socket: Any, accepted: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if accepted:
            await send({"type": "websocket.accept"})
        raise LookupError

    service = await serve(app)
    if accepted:
        assert (await _code(await open_socket(service)))[0] == 1011
    else:
        with pytest.raises(InvalidStatus, match="500"):
            await open_socket(service)
    await service.until(lambda: service.errors() == ["application raised"])


async def test_an_application_that_returns_closes_with_1000(serve: Any, open_socket: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    assert (await _code(await open_socket(await serve(app))))[0] == 1000


async def test_a_message_over_the_limit_is_1009(serve: Any, open_socket: Any) -> None:
    app = Echo()
    client = await open_socket(await serve(app, body_bytes=1000))
    await client.send("x" * 1000)
    assert await client.recv() == "x" * 1000
    await client.send("x" * 1001)
    assert (await _code(client))[0] == 1009
    await asyncio.wait_for(app.done.wait(), PATIENCE)


@pytest.mark.parametrize(
    "frame",
    [b"\x81\x01a", b"\xc1\x81\0\0\0\0a", b"\x81\x81\0\0\0\0\xff", b"\x80\x81\0\0\0\0a", b"\x83\x80\0\0\0\0"],
)
async def test_a_malformed_frame_closes_with_an_error(serve: Any, frame: bytes) -> None:
    app = Echo()
    client = await (await serve(app)).connect()
    await client.send(HANDSHAKE)
    await client.head()
    await client.send(frame)
    close = await client.rest()
    assert close[0] == 0x88
    assert int.from_bytes(close[2:4], "big") in (1002, 1007)
    await asyncio.wait_for(app.done.wait(), PATIENCE)


@pytest.mark.parametrize(
    "request_bytes",
    [
        HANDSHAKE.replace(b"Sec-WebSocket-Version: 13\r\n", b""),
        HANDSHAKE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    ],
)
async def test_a_malformed_handshake_is_400(serve: Any, request_bytes: bytes) -> None:
    client = await (await serve(Echo())).connect()
    assert (await client.ask(request_bytes)).status == 400


async def test_another_version_is_426_and_told_which_is_spoken(serve: Any) -> None:
    client = await (await serve(Echo())).connect()
    reply = await client.ask(HANDSHAKE.replace(b"Version: 13", b"Version: 12"))
    assert (reply.status, reply["sec-websocket-version"], reply["upgrade"]) == (426, "13", "websocket")


async def test_data_may_follow_the_handshake_at_once(serve: Any) -> None:
    client = await (await serve(Echo())).connect()
    await client.send(HANDSHAKE + b"\x81\x82\0\0\0\0hi")
    assert (await client.head()).status == 101
    assert await client.exactly(4) == b"\x81\x02hi"


async def test_a_drain_closes_with_1012_and_offers_nothing(serve: Any, open_socket: Any) -> None:
    app = Echo()
    service = await serve(app, stream=0.02, spread=0.05)
    client = await open_socket(service)
    taker = Taker(service)
    service.engine.drain(taker)
    assert (await _code(client))[0] == 1012
    await asyncio.wait_for(app.done.wait(), PATIENCE)
    assert app.told[0]["code"] == 1012
    await asyncio.wait_for(service.empty.wait(), PATIENCE)
    assert taker.offered == []
    assert service.engine.counters.cut == 0


async def test_a_silent_client_is_probed_and_kept_if_it_answers(serve: Any, open_socket: Any) -> None:
    service = await serve(Echo(), keep_alive=0.05)
    client = await open_socket(service)
    await asyncio.sleep(0.3)  # several probes long
    await client.send("still here")
    assert await client.recv() == "still here"
    mute = await service.connect()
    await mute.send(HANDSHAKE)
    await mute.head()
    assert await mute.rest() == b"\x89\x00"


async def test_reading_waits_for_a_slow_application(serve: Any, open_socket: Any) -> None:
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        await gate.wait()
        for _ in range(300):
            message = await receive()
            assert len(message["bytes"]) == 10_000
        await send({"type": "websocket.send", "text": "done"})
        await receive()

    service = await serve(app)
    client = await open_socket(service)

    async def send_all() -> None:
        for _ in range(300):
            await client.send(b"x" * 10_000)

    sending = asyncio.create_task(send_all())
    await service.until(lambda: not service.only.is_reading)
    gate.set()
    await sending
    assert await asyncio.wait_for(client.recv(), PATIENCE) == "done"


async def test_http_goes_on_beside_websockets(serve: Any, open_socket: Any) -> None:
    echo = Echo()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (echo(scope, receive, send) if scope["type"] == "websocket" else answer(send))

    service = await serve(app)
    await open_socket(service)
    assert (await (await service.connect()).ask()).body == b"hello"


async def test_a_wrong_message_is_an_error(serve: Any, open_socket: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(RuntimeError):
            await send({"type": "websocket.send", "text": "early"})
        with pytest.raises(RuntimeError):
            await send({"type": "http.response.start", "status": 200})
        await send({"type": "websocket.accept"})
        with pytest.raises(RuntimeError):
            await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    assert (await _code(await open_socket(await serve(app))))[0] == 1000
