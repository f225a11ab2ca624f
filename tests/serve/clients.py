"""Clients for tests of a service: one request, a connection that is held, a load that may lose nothing, a direct command."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitless.control import ControlClient
from hitless.load import Load
from serve.service import Service

ASGI_TELLER = """
import asyncio, json, os, sys, time
VERSION = {version!r}

def facts(scope):
    umask = os.umask(0)
    os.umask(umask)
    return dict(version=VERSION, pid=os.getpid(), env=dict(os.environ), cwd=os.getcwd(), path=sys.path, umask=umask,
                uid=os.getuid(), gid=os.getgid(), groups=os.getgroups(), executable=sys.executable, prefix=sys.prefix,
                interface="asgi", root_path=scope.get("root_path"), scheme=scope["scheme"], query=scope["path"])

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    path = scope["path"]
    if path.startswith("/slow/"):
        await asyncio.sleep(float(path.removeprefix("/slow/")))
    while path == "/gate" and not os.path.exists("gate"):
        await asyncio.sleep(0.01)
    if path == "/broken":
        raise ValueError("the application is broken")
    body = json.dumps(facts(scope)).encode()
    await send(dict(type="http.response.start", status=200, headers=[(b"content-length", str(len(body)).encode())]))
    await send(dict(type="http.response.body", body=body))
"""

WSGI_TELLER = """
import json, os, time
VERSION = {version!r}

def app(environ, start_response):
    environ["wsgi.input"].read()
    if environ["PATH_INFO"].startswith("/slow/"):
        time.sleep(float(environ["PATH_INFO"].removeprefix("/slow/")))
    if environ["PATH_INFO"] == "/broken":
        raise ValueError("the application is broken")
    body = json.dumps(dict(version=VERSION, pid=os.getpid(), interface="wsgi", threads=environ["wsgi.multithread"],
                           root_path=environ["SCRIPT_NAME"], processes=environ["wsgi.multiprocess"])).encode()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]
"""


def write_teller(folder: Path, version: str = "v1", *, wsgi: bool = False, module: str = "app") -> None:
    """An application that answers with what it sees of its process, as JSON."""
    text = WSGI_TELLER if wsgi else ASGI_TELLER
    (folder / f"{module}.py").write_text(text.replace("{version!r}", repr(version)))


def open_gate(service: Service) -> None:
    """Lets requests of /gate be answered: they wait for it, however slow the machine is."""
    (service.folder / "gate").touch()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Held:
    """One keep-alive connection. That it is the same one before and after is what most tests are about."""

    def __init__(self, where: tuple[str, int] | Path, *, tls: ssl.SSLContext | None = None) -> None:
        self._connection = http.client.HTTPConnection("localhost", timeout=20)
        if isinstance(where, Path):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(20)
            sock.connect(str(where))
        else:
            sock = socket.create_connection(where, 20)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock if tls is None else tls.wrap_socket(sock, server_hostname="localhost")
        self._connection.sock = self.sock
        self._connection.auto_open = 0

    def send(
        self, path: str = "/", *, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, named)

    def receive(self) -> Answer:
        response = self._connection.getresponse()
        headers: dict[str, str] = {}
        for name, value in response.getheaders():
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        return Answer(response.status, headers, response.read())

    def ask(self, path: str = "/", **kwargs: Any) -> Answer:
        self.send(path, **kwargs)
        return self.receive()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fetch(
    where: tuple[str, int] | Path, path: str = "/", *, tls: ssl.SSLContext | None = None, **kwargs: Any
) -> Answer:
    """One request on a connection of its own."""
    with Held(where, tls=tls) as held:
        return held.ask(path, **kwargs)


def tell(service: Service, method: str, **params: Any) -> Any:
    """A command straight over the control socket: without the start of a Python process, where that is not the point."""
    with ControlClient(service.folder / "run" / f"{service.name}.sock") as client:
        return client.call(method, params, timeout_s=60)


def reload(service: Service, **changes: Any) -> Any:
    """Writes the configuration with `changes` and reloads; it must be applied."""
    service.configure(**changes)
    answer = tell(service, "reload")
    assert answer["outcome"]["status"] == "applied", answer
    return answer


def state(service: Service) -> Any:
    return tell(service, "status")


def pids(service: Service) -> set[int]:
    """The workers of the generation that serves."""
    return {worker["pid"] for worker in state(service)["generations"][0]["workers"]}


def in_flight_now(service: Service) -> int:
    """Requests in flight at the generation that serves."""
    return sum(worker["in_flight"] for worker in state(service)["generations"][0]["workers"])


def place(service: Service, index: int = 0) -> tuple[str, int]:
    host, _, port = state(service)["addresses"][index].rpartition(":")
    return host.strip("[]"), int(port)


def url(where: tuple[str, int] | Path) -> str:
    if isinstance(where, Path):
        return f"unix:{where}"
    host = f"[{where[0]}]" if ":" in where[0] else where[0]
    return f"http://{host}:{where[1]}"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def unharmed(*where: tuple[str, int] | Path, clients: int = 16) -> AsyncIterator[Load]:
    """A load on keep-alive connections that loses nothing: no request fails, no connection is closed."""
    async with Load([url(each) for each in where], clients=clients, think=(0, 0.03)) as load:
        await load.warm()
        yield load
        await load.more(clients * 3)
    report = await load.stop()
    assert report.failed == 0, report.as_json()
    assert report.closed_by_server == 0, report.as_json()
    assert report.connections == (1,) * clients
