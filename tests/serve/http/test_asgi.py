"""What an ASGI application can rely on."""

from __future__ import annotations

import asyncio
import contextvars
import json
from typing import Any

import pytest

from hitless.serve.http.errors import StartupFailed
from serve.http.apps import PLAIN, Gate, answer, describe, echo, hello, read_body
from serve.http.wire import GET, Service, get, post

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def test_the_scope_is_complete(serve: Any) -> None:
    service = await serve(describe, root_path="/api")
    client = await service.connect()
    reply = await client.ask(get("/a%20b/%C3%A9?q=%20x&y", "X-Thing: One", "X-Thing: Two", "Cookie: a=b"))
    scope = json.loads(reply.body)
    assert scope.pop("headers") == [
        ["host", "test"],
        ["x-thing", "One"],
        ["x-thing", "Two"],
        ["cookie", "a=b"],
    ]
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/a b/é",
        "raw_path": "/api/a%20b/%C3%A9",
        "query_string": "q=%20x&y",
        "root_path": "/api",
        "client": list(client.sock.getsockname()),
        "server": list(service.address),
        "state": {},
        "body": "",
    }


async def test_a_unix_socket_has_no_client_address(serve: Any, tmp_path: Any) -> None:
    service = await serve(describe, path=str(tmp_path / "s"))
    scope = json.loads((await (await service.connect()).ask()).body)
    assert scope["client"] is None
    assert scope["server"] == [str(tmp_path / "s"), None]


async def test_every_request_is_a_task_with_a_context_of_its_own(serve: Any) -> None:
    seen: list[tuple[Any, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((asyncio.current_task(), VARIABLE.get()))
        VARIABLE.set("left over")
        await hello(scope, receive, send)

    client = await (await serve(app)).connect()
    await client.ask()
    await client.ask()
    assert [value for _, value in seen] == ["unset", "unset"]
    assert seen[0][0] is not None
    assert seen[0][0] is not seen[1][0]


async def test_a_short_response_is_one_write_with_its_length(serve: Any) -> None:
    reply = await (await (await serve(hello)).connect()).ask()
    assert (reply.status, reply["content-length"], reply.body) == (200, "5", b"hello")
    assert reply["server"] == "hitless"
    assert reply["date"] is not None
    assert reply["connection"] is None


async def test_a_response_of_unknown_length_is_chunked(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
        for piece in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    client = await (await serve(app)).connect()
    reply = await client.ask()
    assert reply["transfer-encoding"] == "chunked"
    assert reply.body == b"onetwo"
    assert (await client.ask()).body == b"onetwo"


async def test_http_1_0_gets_a_body_that_ends_with_the_connection(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    client = await (await serve(app)).connect()
    reply = await client.ask(get(version="1.0"))
    assert reply["transfer-encoding"] is None
    assert reply.body == b"onetwo"


async def test_http_1_0_keeps_the_connection_only_if_asked(serve: Any) -> None:
    service = await serve(hello)
    client = await service.connect()
    assert (await client.ask(get("/", "Connection: keep-alive", version="1.0")))["connection"] == "keep-alive"
    assert (await client.ask(get(version="1.0")))["connection"] == "close"
    assert await client.closed()


@pytest.mark.parametrize("status", [204, 304])
async def test_no_body_follows_a_status_that_has_none(serve: Any, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ignored", status, [(b"content-length", b"7")] if status == 304 else [])

    client = await (await serve(app)).connect()
    for _ in range(2):
        reply = await client.ask()
        assert reply.status == status
        assert reply["transfer-encoding"] is None
        assert reply["content-length"] == ("7" if status == 304 else None)


async def test_head_gets_the_head_only(serve: Any) -> None:
    client = await (await serve(hello)).connect()
    for _ in range(2):
        reply = await client.ask(get(method="HEAD"), method="HEAD")
        assert (reply.status, reply["content-length"]) == (200, "5")
    assert (await client.ask()).body == b"hello"


async def test_a_body_arrives_as_it_was_sent(serve: Any) -> None:
    client = await (await serve(echo)).connect()
    assert (await client.ask(post(b"x" * 300_000))).body == b"x" * 300_000
    chunked = (
        get("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: x\r\n\r\n"
    )
    assert (await client.ask(chunked)).body == b"abcd"
    assert (await client.ask(post(b""))).body == b""


async def test_trailers_do_not_reach_the_headers(serve: Any) -> None:
    client = await (await serve(describe)).connect()
    request = get("/", "Transfer-Encoding: chunked", method="POST") + b"0\r\nX-Evil: 1\r\nHost: evil\r\n\r\n"
    names = [name for name, _ in json.loads((await client.ask(request)).body)["headers"]]
    assert names == ["host", "transfer-encoding"]
    assert (await client.ask()).status == 200


async def test_a_client_waits_for_the_body_s_go_ahead_only_if_the_application_reads(serve: Any) -> None:
    client = await (await serve(echo)).connect()
    await client.send(get("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
    assert (await client.head()).status == 100
    assert (await client.ask(b"abc")).body == b"abc"

    client = await (await serve(hello)).connect()
    reply = await client.ask(get("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
    assert (reply.status, reply["connection"]) == (200, "close")
    assert await client.closed()


async def test_another_expectation_is_refused(serve: Any) -> None:
    client = await (await serve(hello)).connect()
    assert (await client.ask(get("/", "Expect: miracles"))).status == 417


async def test_pipelined_requests_are_answered_in_order(serve: Any) -> None:
    client = await (await serve(describe)).connect()
    await client.send(
        b"".join(get(f"/{number}") for number in range(50)) + post(b"x" * 1000, "/50") + get("/51")
    )
    paths = [json.loads((await client.reply()).body)["path"] for _ in range(52)]
    assert paths == [f"/{number}" for number in range(52)]


async def test_one_request_at_a_time_is_read_from_a_pipeline(serve: Any) -> None:
    gate = Gate()
    service = await serve(gate)
    client = await service.connect()
    await client.send(GET * 1000)
    await gate.asked.wait()
    await service.until(lambda: not service.only.is_reading)
    assert (gate.calls, service.engine.in_flight) == (1, 1)
    gate.open.set()
    for _ in range(1000):
        assert (await client.reply()).body == b"hello"


async def test_an_unread_body_is_thrown_away_and_the_connection_lives(serve: Any) -> None:
    client = await (await serve(hello)).connect()
    await client.send(post(b"x" * 100_000) + GET)
    assert (await client.reply())["connection"] is None
    assert (await client.reply()).body == b"hello"


async def test_an_unread_body_does_not_reach_the_next_request(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (hello if scope["path"] == "/ignore" else echo)(scope, receive, send)

    client = await (await serve(app)).connect()
    for request in (post(b"stale", "/ignore"), get("/ignore", "Content-Length: 5", method="POST") + b"stale"):
        assert (await client.ask(request)).body == b"hello"
        assert (await client.ask(post(b"fresh"))).body == b"fresh"
        assert (await client.ask()).body == b""


async def test_an_unread_body_that_is_too_long_ends_the_connection(serve: Any) -> None:
    client = await (await serve(hello)).connect()
    await client.send(get("/", "Content-Length: 100000000", method="POST"))
    assert (await client.reply())["connection"] == "close"


async def test_a_client_that_closed_its_side_still_gets_its_response(serve: Any) -> None:
    gate = Gate()
    client = await (await serve(gate)).connect()
    await client.send(GET)
    client.writer.write_eof()
    await gate.asked.wait()
    gate.open.set()
    assert (await client.reply()).body == b"hello"
    assert await client.closed()


async def test_the_application_learns_that_its_client_has_left(serve: Any) -> None:
    seen: list[Any] = []
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        seen.append(await receive())
        await hello(scope, receive, send)  # goes nowhere, and raises nothing
        done.set()

    client = await (await serve(app)).connect()
    await client.send(GET)
    client.close()
    await asyncio.wait_for(done.wait(), 5)
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]


async def test_receive_says_disconnect_after_the_response(serve: Any) -> None:
    seen: asyncio.Queue[Any] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        waiting = asyncio.create_task(receive())
        await answer(send)
        seen.put_nowait((await waiting, await receive()))

    await (await (await serve(app)).connect()).ask()
    assert await asyncio.wait_for(seen.get(), 5) == ({"type": "http.disconnect"}, {"type": "http.disconnect"})


async def test_work_after_the_response_does_not_hold_up_the_connection(serve: Any) -> None:
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await gate.wait()

    service = await serve(app)
    client = await service.connect()
    assert (await client.ask()).body == (await client.ask()).body == b"hello"
    assert service.engine.in_flight == 2
    gate.set()
    await service.until(lambda: service.engine.in_flight == 0)


async def test_an_application_that_raises_before_its_response_gives_500(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no such thing")

    service = await serve(app)
    client = await service.connect()
    reply = await client.ask(get("/", "X-Request-ID: abc"))
    assert (reply.status, reply["connection"]) == (500, "close")
    assert b"no such thing" not in reply.body
    assert await client.closed()
    (line,) = [line for line in service.logs if line.level == "error"]
    assert line.fields["request_id"] == "abc"
    assert isinstance(line.fields["exc_info"], LookupError)


@pytest.mark.parametrize("raises", [True, False])
async def test_a_response_that_breaks_off_never_looks_complete(serve: Any, raises: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if raises:
            raise LookupError("no such thing")

    service = await serve(app)
    client = await service.connect()
    await client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await client.reply()
    assert len(service.errors()) == 1


@pytest.mark.parametrize("started", [True, False])
async def test_an_application_that_returns_without_a_response_gives_500(serve: Any, started: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if started:
            await send({"type": "http.response.start", "status": 200})

    service = await serve(app)
    assert (await (await service.connect()).ask()).status == 500
    assert service.errors() == ["application returned before its response was complete"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b"early"}],
        [{"type": "http.response.start", "status": 200}] * 2,
        [{"type": "http.response.unheard"}],
        [{"type": "http.response.start", "status": 99}],
        [{"type": "http.response.start", "status": "200"}],
        [{"type": "http.response.start", "status": 103}],
    ],
)
async def test_messages_out_of_order_are_errors(serve: Any, messages: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages[:-1]:
            await send(message)
        with pytest.raises(RuntimeError):
            await send(messages[-1])
        raise LookupError

    assert (await (await (await serve(app)).connect()).ask()).status == 500


async def test_nothing_can_be_sent_after_the_end(serve: Any) -> None:
    refused = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        with pytest.raises(RuntimeError):
            await send({"type": "http.response.body", "body": b"more"})
        refused.set()

    await (await (await serve(app)).connect()).ask()
    await asyncio.wait_for(refused.wait(), 5)


@pytest.mark.parametrize(
    "field",
    [
        (b"x-a", b"b\r\nx-evil: 1"),
        (b"x-a", b"b\nx-evil: 1"),
        (b"x-a", b"b\0"),
        (b"x-a\r\nx-evil", b"1"),
        (b"x-a", b"b\r"),
        (b"content-length", b"5x"),
        (b"content-length", b"-5"),
        (b"x a", b"b"),
        (b"x-a:", b"b"),
        (b"", b"b"),
    ],
)
async def test_a_header_that_would_split_the_response_is_refused(serve: Any, field: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, headers=[field])

    reply = await (await (await serve(app)).connect()).ask()
    assert reply.status == 500
    assert b"evil" not in reply.head


@pytest.mark.parametrize("body", [b"1234", b"123456"])
async def test_a_length_that_is_not_the_body_s_is_an_error(serve: Any, body: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, body, headers=[(b"content-length", b"5")])

    service = await serve(app)
    assert (await (await service.connect()).ask()).status == 500
    assert service.errors() == ["application raised"]


@pytest.mark.parametrize("rest", [b"", b"45678"])
async def test_a_body_that_turns_out_too_short_or_long_breaks_the_connection(serve: Any, rest: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"123", "more_body": True})
        await send({"type": "http.response.body", "body": rest})

    client = await (await serve(app)).connect()
    await client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await client.reply()


async def test_framing_is_the_server_s_business(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [
            (b"Transfer-Encoding", b"gzip"),
            (b"Connection", b"upgrade"),
            (b"Server", b"mine"),
            (b"date", b"today"),
        ]
        await answer(send, headers=headers)

    client = await (await serve(app)).connect()
    reply = await client.ask()
    assert [name for name, _ in reply.fields] == ["server", "date", "content-length"]
    assert (reply["server"], reply["date"], reply.body) == ("mine", "today", b"hello")


async def test_an_application_may_close_the_connection(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, headers=[(b"connection", b"close")])

    client = await (await serve(app)).connect()
    assert (await client.ask())["connection"] == "close"
    assert await client.closed()


async def test_send_waits_for_a_slow_client(serve: Any) -> None:
    sent = 0
    piece = b"x" * 65536

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        for _ in range(200):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += len(piece)
        await send({"type": "http.response.body"})

    service = await serve(app)
    client = await service.connect(buffer=65536)
    await client.send(GET)
    await client.head()
    await service.until(lambda: service.only.write_paused)
    assert sent < 8_000_000
    reader = asyncio.create_task(client._chunks())
    assert len(await reader) == 200 * len(piece)


async def test_reading_waits_for_a_slow_application(serve: Any) -> None:
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        await echo(scope, receive, send)

    service = await serve(app)
    client = await service.connect()
    body = b"x" * 20_000_000
    sending = asyncio.create_task(client.send(post(body)))
    await service.until(lambda: service.engine.connections and not service.only.is_reading)
    assert service.only.reader.held < 1_000_000
    assert service.only.deadline == float("inf")
    gate.set()
    assert (await client.reply()).body == body
    await sending


async def test_lifespan_state_is_copied_into_every_scope(serve: Any) -> None:
    shared: list[int] = []
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["shared"] = shared
            for _ in range(2):
                events.append((await receive())["type"])
                await send({"type": events[-1] + ".complete"})
            return
        scope["state"]["shared"].append(1)
        assert "own" not in scope["state"]
        scope["state"]["own"] = 1
        await hello(scope, receive, send)

    service = await serve(app, lifespan=True)
    client = await service.connect()
    await client.ask()
    assert (await client.ask()).status == 200
    assert shared == [1, 1]
    await service.stop()
    assert events == ["lifespan.startup", "lifespan.shutdown"]


async def test_a_failed_startup_is_told_with_its_reason() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    service = Service(app, lifespan=True)
    with pytest.raises(StartupFailed, match="no database"):
        await service.engine.startup()
    await service.stop()


async def test_an_application_without_lifespan_is_served(serve: Any) -> None:
    service = await serve(hello, lifespan=True)
    assert (await (await service.connect()).ask()).status == 200
    assert service.errors() == []


async def test_a_failed_shutdown_is_logged_and_harmless(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise LookupError("shutdown")

    service = await serve(app, lifespan=True)
    await service.stop()
    assert service.errors() == ["the application's lifespan raised"]


async def test_an_event_stream_is_told_to_end_and_ends_properly(serve: Any) -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        told.append((await receive())["type"])

    service = await serve(app, stream=0.05, spread=0.05, linger=0.05)
    client = await service.connect()
    await client.send(GET)
    await client.head()
    assert service.engine.describe()[0]["kind"] == "event-stream"
    service.engine.drain(None)
    assert await client._chunks() == b"data: 1\n\n"
    assert told == ["http.disconnect"]
    assert service.errors() == []
    await asyncio.wait_for(service.empty.wait(), 5)


async def test_status_shows_what_every_connection_is_at(serve: Any) -> None:
    gate = Gate()
    service = await serve(gate)
    client = await service.connect()
    await client.send(get("/slow?secret=1"))
    await gate.asked.wait()
    (shown,) = service.engine.describe()
    assert (shown["state"], shown["kind"], shown["method"], shown["path"]) == (
        "answering",
        "request",
        "GET",
        "/slow",
    )
    assert shown["stays"] == "a response is owed"
    assert json.dumps(shown)
    gate.open.set()
    await client.reply()
