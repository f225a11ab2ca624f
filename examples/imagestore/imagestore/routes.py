"""What both interfaces share of HTTP: which request means what, and how results and errors are answered."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import parse_qs

from imagestore.catalog import Conflict, Image, NotFound
from imagestore.store import BadName, Store
from imagestore.version import VERSION

PIECE_BYTES = 64 * 1024


class Action(Enum):
    HEALTH = auto()
    VERSION = auto()
    LIST = auto()
    UPLOAD = auto()
    DOWNLOAD = auto()
    DELETE = auto()


ROOT = {
    "/healthz": {"GET": Action.HEALTH},
    "/version": {"GET": Action.VERSION},
    "/images": {"GET": Action.LIST, "POST": Action.UPLOAD},
}
IMAGE = {"GET": Action.DOWNLOAD, "HEAD": Action.DOWNLOAD, "PUT": Action.UPLOAD, "DELETE": Action.DELETE}
STATUS: dict[type[Exception], int] = {NotFound: 404, Conflict: 409, BadName: 400}
ERRORS = tuple(STATUS)


@dataclass(frozen=True, slots=True)
class Answer:
    """A short, complete response."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        return [("content-type", "application/json"), ("content-length", str(len(self.body))), *self.headers]


def route(method: str, path: str) -> tuple[Action, str] | Answer:
    """The action and the id of the image it is on (empty if none is named), or why there is none."""
    if path.startswith("/images/"):
        methods, image = IMAGE, path.removeprefix("/images/")
    elif path in ROOT:
        methods, image = ROOT[path], ""
    else:
        return answer(404, {"error": f"there is nothing at {path}"})
    if method not in methods:
        allowed = (("allow", ", ".join(methods)),)
        return Answer(405, b'{"error": "method not allowed"}', allowed)
    return methods[method], image


def answer(status: int, content: object) -> Answer:
    return Answer(status, json.dumps(content).encode())


def refusal(error: Exception) -> Answer:
    """The answer to one of ERRORS."""
    return answer(STATUS[type(error)], {"error": str(error)})


def created(image: Image) -> Answer:
    return Answer(201, json.dumps(image.as_json()).encode(), (("location", f"/images/{image.id}"),))


def headers_of(image: Image) -> list[tuple[str, str]]:
    """The headers of a download."""
    return [
        ("content-type", "application/octet-stream"),
        ("content-length", str(image.size)),
        ("x-image-sha256", str(image.sha256)),
    ]


def short(store: Store, action: Action, image: str, query: str) -> Answer:
    """Every action but uploads and downloads."""
    if action is Action.DELETE:
        store.delete(image)
        return Answer(200, b"{}")
    if action is Action.LIST:
        return listing(store.images(after=parse_qs(query).get("after", [""])[0]))
    if action is Action.VERSION:
        data = [str(path) for path in store.settings.data]
        return answer(200, {"version": VERSION, "data": data, "pid": os.getpid()})
    store.check()
    return answer(200, {"status": "ok"})


def listing(images: Iterable[Image]) -> Answer:
    return answer(200, {"images": [image.as_json() for image in images]})
