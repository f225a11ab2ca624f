"""Starlette, Flask and Django as people write them: what they answer through `hitless serve`, and across a reload."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from serve.service import Service, running, wait_for

BIG = bytes(range(256)) * 1500

STARLETTE = """
import asyncio, os, time
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

done = []

@asynccontextmanager
async def lifespan(app):
    print("lifespan is up", flush=True)
    yield {"database": "connected"}
    print("lifespan is down", flush=True)

class Stamp(BaseHTTPMiddleware):
    async def __call__(self, scope, receive, send):
        # This middleware ends a response that broke off as if it were whole, which no server can see.
        next_one = self.app if scope.get("path") == "/cut" else super().__call__
        await next_one(scope, receive, send)

    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-stamp"] = "yes"
        return response

async def root(request):
    return JSONResponse({"query": request.query_params["q"], "lifespan": request.state.database, "client": request.client.host,
                         "url": str(request.url)})

async def form(request):
    async with request.form() as form:
        return JSONResponse(dict(form))

async def upload(request):
    async with request.form() as form:
        return JSONResponse({"size": len(await form["file"].read()), "name": form["file"].filename, "note": form["note"]})

async def stream(request):
    async def lines():
        for number in range(5):
            yield f"line {number}\\n"
            await asyncio.sleep(0.02)
    return StreamingResponse(lines(), media_type="text/plain")

async def gate(request):
    async def lines():
        yield "first\\n"
        while not os.path.exists("gate"):
            await asyncio.sleep(0.01)
        yield "last\\n"
    return StreamingResponse(lines(), media_type="text/plain")

async def cut(request):
    async def lines():
        yield "first\\n"
        raise RuntimeError("in the middle")
    return StreamingResponse(lines(), media_type="text/plain")

async def cookie(request):
    response = PlainTextResponse(",".join(sorted(request.cookies)))
    response.set_cookie("a", "1", httponly=True)
    response.set_cookie("b", "2")
    return response

async def redirect(request):
    return RedirectResponse("/?q=there", status_code=303)

async def error(request):
    raise RuntimeError("boom")

async def background(request):
    return JSONResponse(len(done), background=BackgroundTask(done.append, 1))

async def empty(request):
    return Response(status_code=204)

async def file(request):
    return FileResponse("static/big.bin")

async def echo(socket):
    await socket.accept(subprotocol="chat")
    async for text in socket.iter_text():
        await socket.send_text(f"echo {text}")

async def deny(socket):
    await socket.close(1008)

app = Starlette(
    lifespan=lifespan,
    middleware=[Middleware(Stamp)],
    routes=[Route("/", root), Route("/form", form, methods=["POST"]), Route("/upload", upload, methods=["POST"]),
            Route("/stream", stream), Route("/gate", gate), Route("/cut", cut), Route("/cookie", cookie),
            Route("/redirect", redirect), Route("/error", error), Route("/background", background), Route("/empty", empty),
            Route("/file", file), WebSocketRoute("/echo", echo), WebSocketRoute("/deny", deny),
            Mount("/static", StaticFiles(directory="static"))],
)
"""

FLASK = """
import os, time
from flask import Flask, Response, jsonify, make_response, redirect as redirect_to, request, send_file, session

app = Flask(__name__, static_folder="static")
app.secret_key = "no secret"

@app.get("/")
def root():
    return jsonify(query=request.args["q"], client=request.remote_addr, url=request.url)

@app.post("/form")
def form():
    return dict(request.form)

@app.post("/upload")
def upload():
    return jsonify(size=len(request.files["file"].read()), name=request.files["file"].filename, note=request.form["note"])

@app.get("/stream")
def stream():
    def lines():
        for number in range(5):
            yield f"line {number}\\n"
            time.sleep(0.02)
    return Response(lines(), mimetype="text/plain")

@app.get("/gate")
def gate():
    def lines():
        yield "first\\n"
        while not os.path.exists("gate"):
            time.sleep(0.01)
        yield "last\\n"
    return Response(lines(), mimetype="text/plain")

@app.get("/cut")
def cut():
    def lines():
        yield "first\\n"
        raise RuntimeError("in the middle")
    return Response(lines(), mimetype="text/plain")

@app.get("/cookie")
def cookie():
    response = make_response(",".join(sorted(request.cookies)))
    response.set_cookie("a", "1", httponly=True)
    response.set_cookie("b", "2")
    return response

@app.get("/redirect")
def redirect():
    return redirect_to("/?q=there", 303)

@app.get("/error")
def error():
    raise RuntimeError("boom")

@app.get("/empty")
def empty():
    return "", 204

@app.get("/file")
def file():
    return send_file("static/big.bin")
"""

DJANGO = """
import asyncio, os, time
import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path

INTERFACE = {interface!r}
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="no secret", MIDDLEWARE=[
    "django.middleware.common.CommonMiddleware"])

def root(request):
    return JsonResponse({{"query": request.GET["q"], "client": request.META["REMOTE_ADDR"], "url": request.build_absolute_uri()}})

def form(request):
    return JsonResponse(request.POST.dict())

def upload(request):
    file = request.FILES["file"]
    return JsonResponse({{"size": sum(map(len, file.chunks())), "name": file.name, "note": request.POST["note"]}})

def streaming(pieces):
    if INTERFACE == "asgi":
        return StreamingHttpResponse(pieces(), content_type="text/plain")
    def one_by_one():
        loop = asyncio.new_event_loop()
        steps = pieces()
        try:
            while True:
                yield loop.run_until_complete(anext(steps))
        except StopAsyncIteration:
            loop.close()
    return StreamingHttpResponse(one_by_one(), content_type="text/plain")

def stream(request):
    async def lines():
        for number in range(5):
            yield f"line {{number}}\\n"
            await asyncio.sleep(0.02)
    return streaming(lines)

def gate(request):
    async def lines():
        yield "first\\n"
        while not os.path.exists("gate"):
            await asyncio.sleep(0.01)
        yield "last\\n"
    return streaming(lines)

def cut(request):
    async def lines():
        yield "first\\n"
        raise RuntimeError("in the middle")
    return streaming(lines)

def cookie(request):
    response = HttpResponse(",".join(sorted(request.COOKIES)))
    response.set_cookie("a", "1", httponly=True)
    response.set_cookie("b", "2")
    return response

def redirect(request):
    response = HttpResponseRedirect("/?q=there")
    response.status_code = 303
    return response

def error(request):
    raise RuntimeError("boom")

def empty(request):
    return HttpResponse(status=204)

def file(request):
    return FileResponse(open("static/big.bin", "rb"))

urlpatterns = [path("", root), *(path(view.__name__, view) for view in (
    form, upload, stream, gate, cut, cookie, redirect, error, empty, file))]
app = get_asgi_application() if INTERFACE == "asgi" else get_wsgi_application()
"""

APPS = {
    "starlette": STARLETTE,
    "flask": FLASK,
    "django-wsgi": DJANGO.format(interface="wsgi"),
    "django-asgi": DJANGO.format(interface="asgi"),
}


@contextmanager
def serving(folder: Path, name: str) -> Iterator[Service]:
    (folder / "static").mkdir()
    (folder / "static" / "big.bin").write_bytes(BIG)
    (folder / "app.py").write_text(textwrap.dedent(APPS[name]))
    with running(folder, workers=2) as service:
        yield service


def client_of(service: Service) -> httpx.Client:
    host, port = service.address
    return httpx.Client(base_url=f"http://{host}:{port}", timeout=30.0, trust_env=False)


@pytest.mark.parametrize("name", APPS)
def test_what_people_do_with_a_framework_works(name: str, tmp_path: Path) -> None:
    with serving(tmp_path, name) as service, client_of(service) as client:
        for check in (plain, forms, uploads, streams, cookies, redirects, errors, files):
            check(client)
        if name == "starlette":
            lifespan_and_middleware(client)
            background(client)
            statics(client)
            websockets(service)
        if name == "flask":
            statics(client)
        if not name.startswith("django"):
            chunked_uploads(client)
            service.await_log("RuntimeError: boom")
        assert service.reload().code == 0
        plain(client)
    if name == "starlette":
        assert service.log.count("lifespan is up") == service.log.count("lifespan is down") == 4


def plain(client: httpx.Client) -> None:
    answer = client.get("/", params={"q": "\xe4 b&c"})
    assert answer.status_code == 200
    assert answer.json()["query"] == "\xe4 b&c"
    assert answer.json()["client"] == "127.0.0.1"
    assert answer.json()["url"].startswith(str(client.base_url))
    head = client.head("/", params={"q": "x"})
    assert (head.status_code, head.content) == (200, b"")
    assert client.get("/there/is/none").status_code == 404


def forms(client: httpx.Client) -> None:
    assert client.post("/form", data={"a": "1", "b": "\xe4"}).json() == {"a": "1", "b": "\xe4"}


def uploads(client: httpx.Client) -> None:
    wanted = {"size": len(BIG), "name": "b.bin", "note": "hi"}
    request = client.build_request("POST", "/upload", files={"file": ("b.bin", BIG)}, data={"note": "hi"})
    assert client.send(request).json() == wanted


def chunked_uploads(client: httpx.Client) -> None:
    """Django takes a form of unknown length for an empty one, whatever serves it."""
    wanted = {"size": len(BIG), "name": "b.bin", "note": "hi"}
    request = client.build_request("POST", "/upload", files={"file": ("b.bin", BIG)}, data={"note": "hi"})
    body, kind = request.read(), request.headers["content-type"]
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    chunked = client.post("/upload", content=pieces, headers={"content-type": kind})
    assert "transfer-encoding" in chunked.request.headers
    assert chunked.json() == wanted


def streams(client: httpx.Client) -> None:
    assert client.get("/stream").text == "".join(f"line {number}\n" for number in range(5))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/cut")


def cookies(client: httpx.Client) -> None:
    first = client.get("/cookie")
    set_by = first.headers.get_list("set-cookie")
    assert len(set_by) == 2
    assert all(value == value.strip() for name, value in first.headers.raw)
    assert client.get("/cookie").text == "a,b"
    client.cookies.clear()


def redirects(client: httpx.Client) -> None:
    answer = client.get("/redirect", follow_redirects=True)
    assert [each.status_code for each in answer.history] == [303]
    assert answer.json()["query"] == "there"
    empty = client.get("/empty")
    assert (empty.status_code, empty.content) == (204, b"")


def errors(client: httpx.Client) -> None:
    assert client.get("/error").status_code == 500


def files(client: httpx.Client) -> None:
    answer = client.get("/file")
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(BIG).digest()
    assert answer.headers["content-length"] == str(len(BIG))


def lifespan_and_middleware(client: httpx.Client) -> None:
    answer = client.get("/", params={"q": "x"})
    assert answer.json()["lifespan"] == "connected"
    assert answer.headers["x-stamp"] == "yes"


def background(client: httpx.Client) -> None:
    # each worker counts its own; a keep-alive connection stays with one
    first = client.get("/background").json()
    # it runs after the response, so the next request may be there before it has
    wait_for(lambda: client.get("/background").json() > first, 10, what="the background task has run")


def statics(client: httpx.Client) -> None:
    part = client.get("/static/big.bin", headers={"range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, BIG[5:10])
    again = client.get("/static/big.bin", headers={"if-none-match": part.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def websockets(service: Service) -> None:
    host, port = service.address
    with connect(f"ws://{host}:{port}/echo", subprotocols=["chat"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "chat"
        for text in ("hi", "\xe4" * 100_000):
            socket.send(text)
            assert socket.recv() == f"echo {text}"
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{host}:{port}/deny")


@pytest.mark.parametrize("name", APPS)
def test_a_stream_that_has_begun_ends_whole_across_a_reload(name: str, tmp_path: Path) -> None:
    with serving(tmp_path, name) as service, client_of(service) as client:
        with client.stream("GET", "/gate") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "first"
            assert service.reload().code == 0
            (tmp_path / "gate").touch()
            assert list(lines) == ["last"]
        plain(client)


def test_a_websocket_is_told_that_the_service_restarts(tmp_path: Path) -> None:
    with serving(tmp_path, "starlette") as service:
        service.configure(drain__stream="100ms", drain__spread="0s")
        assert service.reload().code == 0
        host, port = service.address
        with connect(f"ws://{host}:{port}/echo", subprotocols=["chat"]) as socket:  # type: ignore[list-item]
            socket.send("hi")
            assert socket.recv() == "echo hi"
            assert service.reload().code == 0
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
