"""What a WSGI application can rely on (PEP 3333)."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from serve.http.apps import w_describe, w_echo, w_hello
from serve.http.wire import GET, Service, get, post


@pytest.fixture
def wsgi(serve: Any) -> Any:
    """`await wsgi(app, **options)`."""

    async def start(app: Any, **options: Any) -> Service:
        service: Service = await serve(app, interface="wsgi", **options)
        return service

    return start


async def test_the_environ_is_complete(wsgi: Any) -> None:
    service = await wsgi(w_describe, root_path="/api", multiprocess=True)
    client = await service.connect()
    lines = ("Content-Type: text/x", "X-Two: 1", "X-Two: 2", "Cookie: a=1", "Cookie: b=2", "X_Two: evil")
    environ = json.loads((await client.ask(post(b"body", "/a%20b/%C3%A9?q=%20", *lines))).body)
    host, port = client.sock.getsockname()
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/api",
        "PATH_INFO": "/a b/\xc3\xa9",
        "RAW_URI": "/a%20b/%C3%A9?q=%20",
        "REQUEST_URI": "/a%20b/%C3%A9?q=%20",
        "QUERY_STRING": "q=%20",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(service.address[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "hitless",
        "REMOTE_ADDR": host,
        "REMOTE_PORT": str(port),
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "4",
        "HTTP_HOST": "test",
        "HTTP_X_TWO": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "body": "body",
    }


async def test_the_environ_satisfies_the_standard_library_s_validator(wsgi: Any) -> None:
    from wsgiref.validate import validator

    def app(environ: Any, start_response: Any) -> Any:
        assert environ["wsgi.input"].read(3) == b"abc"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]

    client = await (await wsgi(validator(app))).connect()
    reply = await client.ask(post(b"abcdef"))
    assert (reply.status, reply.body) == (200, b"fine")


async def test_a_list_is_sent_with_its_length(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"one", b"", b"two"]

    for body, application in ((b"hello", w_hello), (b"onetwo", app)):
        client = await (await wsgi(application)).connect()
        for _ in range(2):
            reply = await client.ask()
            assert (reply["content-length"], reply.body) == (str(len(body)), body)


async def test_an_empty_list_is_an_empty_body(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("404 Not Found", [])
        return []

    reply = await (await (await wsgi(app)).connect()).ask()
    assert (reply.status, reply["content-length"]) == (404, "0")


async def test_pieces_go_out_as_they_come(wsgi: Any) -> None:
    more = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        assert more.wait(10)
        yield b"two"

    client = await (await wsgi(app)).connect()
    await client.send(GET)
    assert (await client.head())["transfer-encoding"] == "chunked"
    assert await client.exactly(8) == b"3\r\none\r\n"
    more.set()
    assert await client.exactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"


async def test_start_response_may_come_with_the_first_piece(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"late"

    assert (await (await (await wsgi(app)).connect()).ask()).body == b"late"


async def test_write_is_supported(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"one")
        write(b"two")
        return [b"three"]

    assert (await (await (await wsgi(app)).connect()).ask()).body == b"onetwothree"


async def test_head_gets_the_head_only(wsgi: Any) -> None:
    client = await (await wsgi(w_hello)).connect()
    assert (await client.ask(get(method="HEAD"), method="HEAD"))["content-length"] == "5"
    assert (await client.ask()).body == b"hello"


async def test_close_is_called_once_whatever_happens(wsgi: Any) -> None:
    closed: list[str] = []

    class Body:
        def __init__(self, path: str) -> None:
            self.path = path

        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            if self.path == "/raise":
                raise LookupError

        def close(self) -> None:
            closed.append(self.path)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Body(environ["PATH_INFO"])

    service = await wsgi(app)
    client = await service.connect()
    assert (await client.ask(get("/whole"))).body == b"one"
    await client.send(get("/raise"))
    with pytest.raises(asyncio.IncompleteReadError):
        await client.reply()
    await service.until(lambda: closed == ["/whole", "/raise"])


async def test_a_client_that_leaves_ends_the_iteration_and_close_is_called(wsgi: Any) -> None:
    closed = threading.Event()

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        def close(self) -> None:
            closed.set()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Endless()

    service = await wsgi(app)
    client = await service.connect(buffer=4096)
    await client.send(GET)
    await client.head()
    client.close()
    await service.until(closed.is_set)
    await service.until(lambda: service.engine.in_flight == 0)
    assert service.errors() == []


async def test_a_slow_client_holds_up_the_thread_and_not_memory(wsgi: Any) -> None:
    made = 0

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        nonlocal made
        start_response("200 OK", [])
        for _ in range(200):
            made += 65536
            yield b"x" * 65536

    service = await wsgi(app)
    client = await service.connect(buffer=65536)
    await client.send(GET)
    await client.head()
    await service.until(lambda: service.only.write_paused)
    assert made < 8_000_000
    assert len(await client._chunks()) == 200 * 65536


async def test_large_bodies_arrive_whole(wsgi: Any) -> None:
    service = await wsgi(w_echo)
    client = await service.connect()
    body = bytes(range(256)) * 8000
    assert (await client.ask(post(body))).body == body
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:7], body[7:]))
    request = get("/", "Transfer-Encoding: chunked", method="POST") + chunks + b"0\r\n\r\n"
    assert (await client.ask(request)).body == body


async def test_a_chunked_body_that_is_there_has_a_length(wsgi: Any) -> None:
    client = await (await wsgi(w_describe)).connect()
    request = get("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\n\r\n"
    environ = json.loads((await client.ask(request)).body)
    assert (environ["CONTENT_LENGTH"], environ["body"]) == ("3", "abc")
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert "CONTENT_LENGTH" not in json.loads((await client.ask()).body)


async def test_input_reads_lines_while_they_arrive(wsgi: Any) -> None:
    lines: list[bytes] = []

    def app(environ: Any, start_response: Any) -> Any:
        stream = environ["wsgi.input"]
        lines.append(stream.readline())
        lines.extend(stream)
        start_response("200 OK", [])
        return [str(len(lines)).encode()]

    client = await (await wsgi(app)).connect()
    body = b"".join(b"line %d %b\n" % (number, b"x" * 1000) for number in range(200))
    request = post(body)
    await client.send(request[:100_000])
    await client.send(request[100_000:])
    assert (await client.reply()).body == b"200"
    assert b"".join(lines) == body


async def test_a_slow_upload_holds_no_thread(wsgi: Any) -> None:
    service = await wsgi(w_echo, threads=1)
    slow = await service.connect()
    request = post(b"0123456789")
    await slow.send(request[:-5])
    await service.until(lambda: service.engine.in_flight == 1)
    other = await service.connect()
    assert (await other.ask(post(b"quick"))).body == b"quick"
    await slow.send(request[-5:])
    assert (await slow.reply()).body == b"0123456789"


async def test_an_upload_that_breaks_off_is_told_to_the_application(wsgi: Any) -> None:
    errors: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            errors.append(error)
            raise
        raise AssertionError

    service = await wsgi(app)
    client = await service.connect()
    await client.send(post(b"x" * 200_000)[:-1000])
    await service.until(lambda: service.engine.in_flight == 1 and service.only.exchange._is_submitted)
    client.reset()
    await service.until(lambda: service.engine.in_flight == 0)
    assert len(errors) == 1


async def test_a_client_waits_for_the_go_ahead(wsgi: Any) -> None:
    client = await (await wsgi(w_echo)).connect()
    await client.send(get("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
    assert (await client.head()).status == 100
    assert (await client.ask(b"abc")).body == b"abc"


async def test_a_client_that_waits_may_be_refused(wsgi: Any) -> None:
    client = await (await wsgi(w_hello)).connect()
    reply = await client.ask(get("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
    assert (reply.status, reply["connection"]) == (200, "close")


async def test_start_response_may_replace_a_head_that_is_not_sent(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-A", "b")])
        try:
            raise LookupError
        except LookupError:
            start_response("503 Sorry", [], sys.exc_info())
        return [b"sorry"]

    reply = await (await (await wsgi(app)).connect()).ask()
    assert (reply.status, reply["x-a"], reply.body) == (503, None, b"sorry")


async def test_start_response_raises_the_error_again_when_the_head_is_sent(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        try:
            raise LookupError
        except LookupError:
            start_response("500 Sorry", [], sys.exc_info())

    service = await wsgi(app)
    client = await service.connect()
    await client.send(GET)
    with pytest.raises(asyncio.IncompleteReadError):
        await client.reply()
    (line,) = [line for line in service.logs if line.level == "error"]
    assert isinstance(line.fields["exc_info"], LookupError)


def _raises(environ: Any, start_response: Any) -> Any:
    raise LookupError


def _twice(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def _never(environ: Any, start_response: Any) -> Any:
    return [b"x"]


def _never_lazily(environ: Any, start_response: Any) -> Iterator[bytes]:
    yield from ()


def _bad_status(environ: Any, start_response: Any) -> Any:
    start_response("100 Continue", [])
    return []


def _bad_header(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("X", "a\r\nX-Evil: 1")])
    return [b"x"]


def _text(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return ["text"]


def _exits(environ: Any, start_response: Any) -> Any:
    sys.exit(1)


def _none(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])


@pytest.mark.parametrize(
    "app", [_raises, _twice, _never, _never_lazily, _bad_status, _bad_header, _text, _exits, _none]
)
async def test_an_application_s_mistake_is_its_request_s_500(wsgi: Any, app: Any) -> None:
    service = await wsgi(app, threads=1)
    for _ in range(2):
        assert (await (await service.connect()).ask()).status == 500
    await service.until(lambda: service.engine.in_flight == 0)
    assert len(service.errors()) == 2


async def test_a_length_that_is_not_the_body_s_is_an_error(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "3")])
        return [b"four"]

    assert (await (await (await wsgi(app)).connect()).ask()).status == 500


async def test_file_wrapper_sends_and_closes_a_file(wsgi: Any) -> None:
    file = io.BytesIO(b"x" * 300_000)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "300000")])
        return environ["wsgi.file_wrapper"](file)

    service = await wsgi(app)
    assert len((await (await service.connect()).ask()).body) == 300_000
    await service.until(lambda: file.closed)


async def test_threads_work_side_by_side(wsgi: Any) -> None:
    barrier = threading.Barrier(4, timeout=10)

    def app(environ: Any, start_response: Any) -> Any:
        barrier.wait()
        return w_hello(environ, start_response)

    service = await wsgi(app, threads=4)
    clients = [await service.connect() for _ in range(4)]
    replies = await asyncio.gather(*(client.ask() for client in clients))
    assert [reply.body for reply in replies] == [b"hello"] * 4


async def test_many_clients_lose_no_completion(wsgi: Any) -> None:
    service = await wsgi(w_hello, threads=8)

    async def use() -> None:
        client = await service.connect()
        for _ in range(100):
            assert (await client.ask()).body == b"hello"

    await asyncio.gather(*(use() for _ in range(20)))
    assert service.engine.counters.requests == service.engine.counters.responses[2] == 2000


async def test_every_request_has_a_context_of_its_own(wsgi: Any) -> None:
    import contextvars

    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def app(environ: Any, start_response: Any) -> Any:
        seen = variable.get()
        variable.set(seen + 1)
        start_response("200 OK", [])
        return [str(seen).encode()]

    client = await (await wsgi(app, threads=1)).connect()
    assert (await client.ask()).body == (await client.ask()).body == b"0"


async def test_an_upgrade_is_ignored(wsgi: Any) -> None:
    client = await (await wsgi(w_hello)).connect()
    assert (await client.ask(get("/", "Connection: Upgrade", "Upgrade: websocket"))).body == b"hello"
    assert (await client.ask()).body == b"hello"


async def test_a_value_goes_out_without_the_space_around_it(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Set-Cookie", " a=1; Path=/"), ("Content-Length", "2 ")])
        return [b"ok"]

    client = await (await wsgi(app)).connect()
    answer = await client.ask(get())
    assert answer.body == b"ok"
    assert b"\r\nset-cookie: a=1; Path=/\r\n" in answer.head
