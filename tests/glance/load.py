"""Clients of Glance: cycles of create, upload, show, download and delete, and long uploads beside them."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Self

from hitless.load import Limits, Load, Report, Request, RequestFailed, Response, Share, ask
from hitless.load.long import slow_upload

JSON = (("Content-Type", "application/json"),)
OCTETS = (("Content-Type", "application/octet-stream"),)
CYCLE_S = 60.0
SIZES = (1024, 256 * 1024)
NEW = {"disk_format": "raw", "container_format": "bare"}


class GlanceLoad:
    """From entering the block until `stop`."""

    def __init__(self, url: str, *, clients: int, uploads: int, upload_s: float) -> None:
        self.cycles = 0
        """That went through from beginning to end."""
        self.uploads = 0
        self.wrong: list[str] = []
        self.cut: list[str] = []
        self._url = url
        limits = Limits(timeout_s=60.0, seconds=1200.0)
        self.load = Load(url, clients=clients, think=(0.05, 0.5), mix=(Share(1, self._cycle),), limits=limits)
        self._count, self._upload_s = uploads, upload_s
        self._stopping = asyncio.Event()
        self._open: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.load.__aenter__()
        self._tasks = [asyncio.create_task(self._uploads(number)) for number in range(self._count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> Report:
        """Let every cycle and every upload end: images whose client has gone would look like images that were lost."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        with suppress(TimeoutError):  # a cycle that failed stays open
            async with asyncio.timeout(CYCLE_S):
                while self._open:
                    await self.load.more(1, CYCLE_S)
        return await self.load.stop()

    @property
    def failures(self) -> list[str]:
        return [*map(str, self.load.report().failed_requests), *self.cut, *self.wrong]

    def _cycle(self, random: Random) -> Request:
        if self._stopping.is_set():
            return Request("/healthcheck")
        body = random.randbytes(random.randint(*SIZES))
        digest = hashlib.sha512(body).hexdigest()

        def created(response: Response) -> Request:
            path = f"/v2/images/{json.loads(response.body)['id']}"
            self._open.add(path)

            def show(_: Response) -> Request:
                return Request(path, keep_body=True, then=shown)

            def shown(answer: Response) -> Request:
                image = json.loads(answer.body)
                if (image["status"], image["size"], image["os_hash_value"]) != ("active", len(body), digest):
                    self.wrong.append(f"{path} is {image}")
                return Request(f"{path}/file", expect_sha256=hashlib.sha256(body).hexdigest(), then=delete)

            def delete(_: Response) -> Request:
                return Request(path, "DELETE", expect_status=(204,), then=deleted)

            def deleted(_: Response) -> None:
                self._open.discard(path)
                self.cycles += 1

            return Request(f"{path}/file", "PUT", headers=OCTETS, body=body, expect_status=(204,), then=show)

        fields = NEW | {"name": f"image {random.getrandbits(32):08x}"}
        new = json.dumps(fields).encode()
        return Request(
            "/v2/images", "POST", headers=JSON, body=new, expect_status=(201,), keep_body=True, then=created
        )

    async def _uploads(self, number: int) -> None:
        """One long upload after the other; the images stay."""
        close = (*JSON, ("Connection", "close"))
        for turn in itertools.count():
            if self._stopping.is_set():
                return
            new = Request("/v2/images", "POST", headers=close, body=json.dumps(NEW).encode(), keep_body=True)
            try:
                image = json.loads((await ask(self._url, new, timeout_s=60.0)).body)["id"]
            except (RequestFailed, TimeoutError) as error:
                self.cut.append(f"creating an image for a long upload: {error}")
                continue
            ending = await slow_upload(
                f"{self._url}/v2/images/{image}/file", size=2_000_000, seconds=self._upload_s,
                seed=1000 * number + turn, content_type="application/octet-stream",
            )  # fmt: skip
            if ending.survived:
                self.uploads += 1
            else:
                self.cut.append(f"a long upload was cut after {ending.size} bytes: {ending.reason}")
