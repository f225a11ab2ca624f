"""Load on the image store of several nodes, and the book that says afterwards whether anything was lost.

Clients create images, upload, look, change, download and delete, each client its own images. Every write that
was answered is written into the book; what is read meanwhile and what is there at the end is compared with it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from types import TracebackType
from typing import Final, Self

from hitless.load import Limits, Load, Report, Request, RequestFailed, Response, Share, ask, get
from hitless.load.long import slow_upload

SIZES: Final = (1024, 64 * 1024)
KEPT_SHARE: Final = 0.5
"""Of the images that are made: the others are deleted at once."""
PAGE: Final = 100
VISIBILITIES: Final = ("public", "private")


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of an image by what was answered."""

    name: str
    visibility: str
    state: str = "queued"
    size: int | None = None
    sha256: str | None = None


@dataclass(slots=True)
class Book:
    """Every acknowledged write."""

    rows: dict[str, Row] = field(default_factory=dict)
    """Images that were made and not deleted."""
    writes: int = 0
    wrong: list[str] = field(default_factory=list)
    """Answers and rows that are not what the book says."""
    idle: list[str] = field(default_factory=list)
    """Complete images that no client is at."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def next_name(self) -> str:
        return f"image {next(self._numbers)}"

    def write(self, image: str, row: Row) -> None:
        self.writes += 1
        self.rows[image] = row

    def forget(self, image: str) -> None:
        self.writes += 1
        del self.rows[image]

    def compare(self, image: str, found: dict[str, object], where: str) -> None:
        """That a row that was read is the one that was written."""
        row = self.rows[image]
        for key in ("name", "visibility", "state", "size", "sha256"):
            if found.get(key) != getattr(row, key):
                self.wrong.append(
                    f"{where}: {key} of {image} is {found.get(key)!r}, not {getattr(row, key)!r}"
                )


class Life:
    """What one client does with one image, request by request."""

    def __init__(self, book: Book) -> None:
        self._book: Final = book

    def made(self, random: Random) -> Request:
        """A new image: create, upload, look, then as with an old one."""
        row = Row(self._book.next_name(), random.choice(VISIBILITIES))
        body = random.randbytes(random.randint(*SIZES))

        def created(response: Response) -> Request:
            image = str(json.loads(response.body)["id"])
            self._book.write(image, row)
            return Request(
                f"/images/{image}/file", "PUT", body=body, chunked=random.random() < 0.3, keep_body=True,
                then=lambda uploaded: stored(image, uploaded),
            )  # fmt: skip

        def stored(image: str, response: Response) -> Request:
            answer = json.loads(response.body)
            self._book.write(image, replace(row, state="active", size=len(body), sha256=answer.get("sha256")))
            self._book.compare(image, answer, "upload")
            return self._used(image, random, keep=random.random() < KEPT_SHARE)

        fields = {"name": row.name, "visibility": row.visibility}
        return _json("/images", "POST", fields, then=created)

    def used(self, random: Random) -> Request:
        """An image that was made before, perhaps by another release."""
        if not self._book.idle:
            return get("/images")(random)
        image = self._book.idle.pop(random.randrange(len(self._book.idle)))
        return self._used(image, random, keep=random.random() < 0.9)

    def _used(self, image: str, random: Random, *, keep: bool) -> Request:
        """Change it, look, download, and delete it or leave it to others."""
        book = self._book
        row = replace(book.rows[image], name=book.next_name(), visibility=random.choice(VISIBILITIES))

        def changed(response: Response) -> Request:
            book.write(image, row)
            book.compare(image, json.loads(response.body), "change")
            return Request(f"/images/{image}", keep_body=True, then=looked)

        def looked(response: Response) -> Request:
            book.compare(image, json.loads(response.body), "look")
            return Request(
                f"/images/{image}/file",
                expect_sha256=row.sha256,
                expect_length=row.size,
                then=lambda _: downloaded(),
            )

        def downloaded() -> Request | None:
            if keep:
                book.idle.append(image)
                return None
            return Request(f"/images/{image}", "DELETE", then=deleted)

        def deleted(_: Response) -> None:
            book.forget(image)

        fields = {"name": row.name, "visibility": row.visibility}
        return _json(f"/images/{image}", "PATCH", fields, then=changed)


class FleetLoad:
    """Clients and long uploads, from entering the block until `stop`."""

    def __init__(
        self, url: str, *, clients: int, think: tuple[float, float], uploads: int, upload_s: float,
        upload_bytes: int = 1024 * 1024, timeout_s: float = 30.0, seconds: float = 3600.0, step: str = "start",
    ) -> None:  # fmt: skip
        self.url: Final = url
        self.book: Final = Book()
        life = Life(self.book)
        mix = (Share(2, life.made), Share(4, life.used), Share(3, get("/images")))
        self.load: Final = Load(
            url,
            clients=clients,
            think=think,
            mix=mix,
            limits=Limits(timeout_s=timeout_s, seconds=seconds),
            step=step,
        )
        self.uploads = 0
        """Long ones that arrived whole."""
        self.cut: Final[list[str]] = []
        """Long ones that did not."""
        self._upload: Final = (upload_bytes, upload_s)
        self._count: Final = uploads
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.load.__aenter__()
        self._tasks = [asyncio.create_task(self._uploads(number)) for number in range(self._count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for task in self._tasks:
                task.cancel()
        await self.stop()

    async def stop(self) -> Report:
        """Let every client and every upload finish."""
        self._stopping.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return await self.load.stop()

    @property
    def failed(self) -> int:
        """Requests that failed, uploads that were cut, and rows that are wrong."""
        return self.load.report().failed + len(self.cut) + len(self.book.wrong)

    def failures(self) -> Sequence[str]:
        """Each of them, for people."""
        return (*map(str, self.load.report().failed_requests), *self.cut, *self.book.wrong)

    async def check(self) -> int:
        """Compare everything that is there with the book; the number of images. What differs is in `book.wrong`."""
        found: dict[str, dict[str, object]] = {}
        after = ""
        while page := json.loads((await self._get(f"/images?after={after}")).body)["images"]:
            found |= {str(image["id"]): image for image in page}
            after = str(page[-1]["id"])
        for image in sorted(found.keys() | self.book.rows.keys()):
            if image not in found:
                self.book.wrong.append(f"{image} was lost")
            elif image not in self.book.rows:
                self.book.wrong.append(f"{image} should not be there: {found[image]}")
            else:
                self.book.compare(image, found[image], "at the end")
        await self._check_content(found)
        return len(found)

    async def _check_content(self, found: dict[str, dict[str, object]]) -> None:
        for image, row in self.book.rows.items():
            if image in found and row.state == "active":
                try:
                    await self._get(f"/images/{image}/file", sha256=row.sha256)
                except RequestFailed as error:
                    self.book.wrong.append(f"the content of {image}: {error}")

    async def _get(self, path: str, sha256: str | None = None) -> Response:
        close = (("Connection", "close"),)
        request = Request(path, keep_body=sha256 is None, expect_sha256=sha256, headers=close)
        return await ask(self.url, request, timeout_s=60.0)

    async def _uploads(self, number: int) -> None:
        """One long upload after the other, of new images."""
        size, seconds = self._upload
        for turn in itertools.count():
            if self._stopping.is_set():
                return
            row = Row(self.book.next_name(), "public")
            request = _json("/images", "POST", {"name": row.name, "visibility": row.visibility}, close=True)
            try:
                image = str(json.loads((await ask(self.url, request, timeout_s=30.0)).body)["id"])
            except (RequestFailed, TimeoutError) as error:
                self.cut.append(f"creating an image for a long upload: {error}")
                continue
            self.book.write(image, row)
            path = f"{self.url}/images/{image}/file"
            ending = await slow_upload(path, size=size, seconds=seconds, seed=1000 * number + turn)
            if ending.survived:
                self.uploads += 1
                self.book.write(image, replace(row, state="active", size=size, sha256=ending.sha256))
            else:
                self.cut.append(
                    f"an upload of {seconds:g} s was cut after {ending.size} bytes: {ending.reason}"
                )


def _json(
    path: str, method: str, fields: dict[str, str], *, then: Callable[[Response], Request | None] | None = None,
    close: bool = False,
) -> Request:  # fmt: skip
    headers = (("Content-Type", "application/json"), *((("Connection", "close"),) if close else ()))
    return Request(path, method, headers=headers, body=json.dumps(fields).encode(), keep_body=True, then=then)
