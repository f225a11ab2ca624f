"""What the image store promises, whichever interface serves it."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from imagestore.catalog import Conflict
from imagestore.settings import Settings
from imagestore.store import INCOMING, Store

from imagestore import asgi, wsgi

BODY = b"pixels" * 50_000


@pytest.fixture
def store(environ) -> Iterator[Store]:
    with closing(Store(Settings.read(environ))) as store:
        yield store


def files(path) -> set[str]:
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}


def upload(store: Store, image: str, body: bytes = BODY):
    with store.receive(image) as incoming:
        incoming.write(body[:1000])
        incoming.write(body[1000:])
        return incoming.commit()


def read(store: Store, image: str) -> bytes:
    _, file = store.open(image)
    with file:
        return file.read()


# the store


def test_an_upload_is_read_back_as_it_was(store):
    image = upload(store, "a.img")
    assert (image.state, image.size, image.sha256) == ("active", len(BODY), hashlib.sha256(BODY).hexdigest())
    assert read(store, "a.img") == BODY


def test_half_an_upload_is_never_visible(store, tmp_path):
    with store.receive("a") as incoming:
        incoming.write(BODY)
        with pytest.raises(LookupError):
            store.open("a")
        assert [image.state for image in store.images()] == ["saving"]
        assert all(name.startswith(INCOMING) for name in files(tmp_path / "new"))
    assert files(tmp_path / "new") == set()
    assert [image.state for image in store.images()] == ["queued"]
    upload(store, "a")


def test_of_two_uploads_of_one_name_the_second_is_refused(store):
    with store.receive("a") as incoming:
        with pytest.raises(Conflict), store.receive("a"):
            pass
        incoming.write(BODY)
        incoming.commit()
    with pytest.raises(Conflict), store.receive("a"):
        pass
    assert read(store, "a") == BODY


def test_an_image_deleted_during_its_upload_stays_deleted(store, tmp_path):
    with store.receive("a") as incoming:
        incoming.write(BODY)
        store.delete("a")
        with pytest.raises(Conflict):
            incoming.commit()
    assert files(tmp_path / "new") == set()
    assert store.images() == []


def test_the_claim_of_an_upload_whose_process_died_is_taken_over(store, monkeypatch):
    dead = store.receive("a")
    monkeypatch.setattr("imagestore.catalog.CLAIM_S", -1.0)
    upload(store, "a")
    with pytest.raises(Conflict):
        dead.commit()
    assert read(store, "a") == BODY
    dead.__exit__(None, None, None)


def test_a_download_under_way_survives_the_deletion(store):
    upload(store, "a")
    _, file = store.open("a")
    with file:
        store.delete("a")
        assert file.read() == BODY


def test_adding_a_storage_path_keeps_old_images_readable(environ, tmp_path):
    before = environ | {"IMAGESTORE_DATA": f"{tmp_path}/old"}
    with closing(Store(Settings.read(before))) as store:
        upload(store, "old")
    with closing(Store(Settings.read(environ))) as store:
        upload(store, "new")
        assert read(store, "old") == read(store, "new") == BODY
    assert files(tmp_path / "old") == {"old"}
    assert files(tmp_path / "new") == {"new"}


def test_the_listing_goes_on_after_an_id(store):
    for name in "abc":
        upload(store, name)
    assert [image.id for image in store.images(limit=2)] == ["a", "b"]
    assert [image.id for image in store.images(after="b")] == ["c"]


@pytest.mark.parametrize("missing", ["IMAGESTORE_DATA", "IMAGESTORE_DB"])
def test_a_missing_setting_is_named(environ, missing):
    with pytest.raises(ValueError, match=missing):
        Settings.read(environ | {missing: ""})


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".incoming", "a" * 65, "a\n", "ä"])
def test_names_that_are_no_file_names_are_refused(store, name):
    with pytest.raises(ValueError, match="cannot name an image"):
        store.receive(name)


# both interfaces


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(params=["asgi", "wsgi"])
def client(request, environ) -> Iterator[httpx.Client]:
    if request.param == "wsgi":
        app = wsgi.Application(environ)
        with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
                yield client
            server.shutdown()
            thread.join()
    else:
        application = asgi.Application(environ)
        with httpx.Client(transport=Bridge(application), base_url="http://store") as client:
            yield client
    app_store = app.store if request.param == "wsgi" else application.store
    app_store.close()


class Bridge(httpx.BaseTransport):
    """Runs the ASGI application for a synchronous client, one request at a time."""

    def __init__(self, app) -> None:
        self._transport = httpx.ASGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        import asyncio

        async def handle() -> httpx.Response:
            body = request.read()
            copy = httpx.Request(request.method, request.url, headers=request.headers, content=body)
            response = await self._transport.handle_async_request(copy)
            content = await response.aread()
            return httpx.Response(response.status_code, headers=response.headers, content=content)

        return asyncio.run(handle())


def test_put_get_head_list_delete(client):
    created = client.put("/images/a.img", content=BODY)
    assert created.status_code == 201
    assert created.headers["location"] == "/images/a.img"
    assert created.json()["sha256"] == hashlib.sha256(BODY).hexdigest()
    got = client.get("/images/a.img")
    assert got.content == BODY
    assert got.headers["x-image-sha256"] == hashlib.sha256(BODY).hexdigest()
    head = client.head("/images/a.img")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(BODY)), b"")
    assert [image["id"] for image in client.get("/images").json()["images"]] == ["a.img"]
    assert client.get("/images?after=a.img").json()["images"] == []
    assert client.delete("/images/a.img").status_code == 200
    assert client.get("/images/a.img").status_code == 404
    assert client.delete("/images/a.img").status_code == 404


def test_post_makes_up_an_id(client):
    location = client.post("/images", content=b"x").headers["location"]
    assert client.get(location).content == b"x"


def test_an_empty_image_is_an_image(client):
    assert client.put("/images/a", content=b"").status_code == 201
    got = client.get("/images/a")
    assert (got.status_code, got.content) == (200, b"")


def test_what_cannot_be_done_is_refused_with_a_reason(client):
    assert client.put("/images/a", content=b"x").status_code == 201
    assert client.put("/images/a", content=b"y").status_code == 409
    assert client.put("/images/.hidden", content=b"x").status_code == 400
    assert client.get("/nothing").status_code == 404
    refused = client.post("/images/a")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, PUT, DELETE")
    assert client.get("/images/a").content == b"x"


def test_version_and_health(client, environ):
    assert client.get("/healthz").json() == {"status": "ok"}
    version = client.get("/version").json()
    assert version["version"] == "1.0"
    assert ":".join(version["data"]) == environ["IMAGESTORE_DATA"]


# what only ASGI has


async def test_a_client_that_goes_away_leaves_nothing_visible(environ, tmp_path):
    app = asgi.Application(environ)
    messages = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": "PUT", "path": "/images/a", "query_string": b""}, receive, send)
    assert sent == []
    assert files(tmp_path / "new") == set()
    assert [image.state for image in app.store.images()] == ["queued"]
    app.store.close()


async def test_lifespan_opens_and_closes_the_store(environ):
    sent = await lifespan(asgi.Application(environ))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    "broken", [{"IMAGESTORE_DATA": ""}, {"IMAGESTORE_DATA": "/proc/none"}, {"IMAGESTORE_DB": "/proc/none"}]
)
async def test_settings_that_cannot_work_fail_the_startup(environ, broken):
    assert await lifespan(asgi.Application(environ | broken)) == ["lifespan.startup.failed"]


async def lifespan(app) -> list[str]:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    return sent


def test_chunked_uploads_arrive_whole_where_the_server_ends_the_input(environ):
    app = wsgi.Application(environ)
    read, write = socket.socketpair()
    write.sendall(b"all of it")
    write.close()
    started = []
    with read, read.makefile("rb") as body:
        answer = app(
            {
                "REQUEST_METHOD": "PUT",
                "PATH_INFO": "/images/a",
                "wsgi.input": body,
                "wsgi.input_terminated": True,
            },
            lambda status, headers: started.append(status),
        )
    assert started == ["201 Created"]
    assert b'"size": 9' in b"".join(answer)
    app.store.close()
