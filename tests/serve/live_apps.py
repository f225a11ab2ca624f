"""Applications with a runtime of `hitless.live`, and clients that see which settings answer."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.clients import Held

SHOP = '''
import asyncio, json, os, signal, threading
from pathlib import Path
from typing import Annotated
from pydantic import BaseModel, ConfigDict
from hitless.config import Secret, TomlFile
from hitless.live import Reload, Runtime, Setting, Timeouts

VERSION = {version!r}

class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    level: str = "info"
    password: Secret | None = None
    slots: Annotated[int, Reload("restart")] = 1

runtime = Runtime(Settings, name="shop")

def misbehave(phase):
    """What the file `fault` says, if it is meant for this process and phase."""
    try:
        fault = json.loads(Path("fault").read_text())
    except FileNotFoundError:
        return
    if fault["pid"] != os.getpid() or fault["phase"] != phase:
        return
    if fault["how"] == "refuse":
        raise RuntimeError("the greeter does not like it")
    if fault["how"] == "hang":
        threading.Event().wait(30)
    if fault["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)

@runtime.resource(timeouts=Timeouts(build_s=5.0, update_s=5.0))
class Greeter:
    def __init__(self, level: Annotated[str, Setting("level")]):
        misbehave("prepare")
        self.level = level

    def adopt(self, old):
        misbehave("settle")

def answer():
    with runtime.lease(Greeter) as greeter:
        same = greeter.level == runtime.settings.level
        facts = dict(level=greeter.level, slots=runtime.settings.slots)
        return json.dumps(dict(facts, pid=os.getpid(), version=VERSION, same=same)).encode()
'''

ASGI = """
async def inner(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    while scope["path"] == "/gate" and not os.path.exists("gate"):
        await asyncio.sleep(0.01)
    body = answer()
    await send(dict(type="http.response.start", status=200, headers=[(b"content-length", str(len(body)).encode())]))
    await send(dict(type="http.response.body", body=body))

app = runtime.asgi(inner, TomlFile("shop.toml"))
"""

LIFESPAN = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        return await inner(scope, receive, send)
    await receive()
    await runtime.start(TomlFile("shop.toml"))  # what it raises means "no lifespan" by the specification
    await send(dict(type="lifespan.startup.complete"))
    await receive()
    await runtime.stop()
    await send(dict(type="lifespan.shutdown.complete"))
"""

WSGI = """
def inner(environ, start_response):
    body = answer()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body] if environ["PATH_INFO"] != "/pieces" else iter([body])

app = runtime.wsgi(inner, TomlFile("shop.toml"))
"""


APPS = {"asgi": ASGI, "wsgi": WSGI, "lifespan": ASGI + LIFESPAN}


def write_shop(folder: Path, version: str = "v1", kind: str = "asgi") -> None:
    """How its runtime is started is the `kind`."""
    (folder / "app.py").write_text(SHOP.replace("{version!r}", repr(version)) + APPS[kind])


def write_settings(folder: Path, text: str = "", **settings: Any) -> None:
    """shop.toml, replaced as a whole."""
    draft = folder / "shop.new"
    draft.write_text(text or "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    draft.chmod(0o644)
    draft.rename(folder / "shop.toml")


def write_fault(folder: Path, pid: int, phase: str, how: str) -> None:
    draft = folder / "fault.new"
    draft.write_text(json.dumps({"pid": pid, "phase": phase, "how": how}))
    draft.rename(folder / "fault")


@dataclass(frozen=True)
class Seen:
    """One request: when it began, and what answered. `pid` of a failure is who answered on that connection before."""

    began: float
    level: str | None
    pid: int | None
    failure: str = ""


class Watch:
    """Clients on keep-alive connections that write down what answers them, without pause."""

    THINK_S = 0.02

    def __init__(self, where: tuple[str, int], clients: int = 6) -> None:
        self._where = where
        self._over = threading.Event()
        self.seen: list[Seen] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def more(self, requests: int, timeout_s: float = 60.0) -> None:
        """Returns when so many more requests have been answered."""
        goal, deadline = len(self.seen) + requests, time.monotonic() + timeout_s
        while len(self.seen) < goal:
            assert time.monotonic() < deadline, f"{len(self.seen)} of {goal} requests within {timeout_s} s"
            time.sleep(0.02)

    def since(self, moment: float) -> list[Seen]:
        """Requests that began after it."""
        return [each for each in self.seen if each.began > moment]

    def _run(self) -> None:
        while not self._over.is_set():
            last: int | None = None
            began = time.monotonic()
            try:
                with Held(self._where) as held:
                    while not self._over.wait(self.THINK_S):
                        began = time.monotonic()
                        answer = held.ask()
                        found = json.loads(answer.body) if answer.status == 200 else {}
                        last = found.get("pid", last)
                        failure = "" if found.get("same") else f"status {answer.status}: {answer.body!r}"
                        self.seen.append(Seen(began, found.get("level"), last, failure))
            except (OSError, http.client.HTTPException) as error:
                with suppress(IndexError):
                    self.seen.append(Seen(began, None, last, repr(error)))
