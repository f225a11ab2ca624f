"""What clients ask for: shares of a mix, each a maker of requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from hitless.load.exchange import Request, Response

Make = Callable[[Random], Request]
DELETED = frozenset({200, 204})


@dataclass(frozen=True, slots=True)
class Share:
    """One part of a mix: how much of it, and how its next request is made."""

    weight: float
    make: Make


def choose(mix: Sequence[Share], random: Random) -> Request:
    """The next request of a client."""
    if len(mix) == 1:
        return mix[0].make(random)
    share = random.choices(mix, [share.weight for share in mix])[0]
    return share.make(random)


def get(path: str = "") -> Make:
    """GET of `path`, or of the target's own path."""
    request = Request(path)
    return lambda _random: request


def post(path: str = "", *, size: int = 4096, method: str = "POST", chunked: float = 0.0) -> Make:
    """A body of `size` bytes; `chunked` is the share of requests whose body goes in chunks."""

    def make(random: Random) -> Request:
        return Request(path, method, body=random.randbytes(size), chunked=random.random() < chunked)

    return make


def round_trip(prefix: str, *, sizes: tuple[int, int] = (1024, 256 * 1024), chunked: float = 0.5) -> Make:
    """PUT a new object of random size under `prefix`, GET it and compare it bit for bit, DELETE it; one after
    the other."""

    def make(random: Random) -> Request:
        body = random.randbytes(random.randint(*sizes))
        path = f"{prefix}{random.getrandbits(96):024x}"
        digest = hashlib.sha256(body).hexdigest()

        def download(_: Response) -> Request:
            return Request(path, expect_sha256=digest, expect_length=len(body), then=remove)

        def remove(_: Response) -> Request:
            return Request(path, "DELETE", expect_status=DELETED)

        return Request(path, "PUT", body=body, chunked=random.random() < chunked, then=download)

    return make
