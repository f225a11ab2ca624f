"""Load on the volume service: clients that make volumes, write, copy across backends, compare and delete them, and count
every request that was lost, failed, or gave back other bytes than were written.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final

from hitless.demo.volume_client import Answer, Lost, VolumeClient

READ_BYTES: Final = 4096
KEPT_SHARE: Final = 0.3
"""Of the copies: the others are deleted at once."""
STOP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    step: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(slots=True)
class Seen:
    """What the clients saw in one step."""

    requests: int = 0
    refused: int = 0
    """Because there is no such backend any more; nothing has happened, and nothing is lost."""
    failures: list[Failure] = field(default_factory=list)
    max_ms: float = 0.0
    """The longest that a client waited for a first sign."""


class Given(Exception):
    """The round is over: what it wants is not there, or has failed and been counted."""


class VolumeLoad:
    """`clients` clients, each with a connection of its own, from entering the block until `stop`."""

    def __init__(
        self, socket: Path, *, clients: int, backends: Sequence[str], sizes: tuple[int, int], seed: int = 1
    ) -> None:
        self.backends = tuple(backends)
        """Those on which volumes are made and to which they are copied; may be set at any time."""
        self.contents: Final[dict[str, str]] = {}
        """The SHA-256 of each volume that was written whole and not deleted."""
        self.steps: Final[dict[str, Seen]] = {}
        self.rounds = 0
        """Rounds of making, copying and comparing that went through."""
        self.accepted = 0
        """Requests that the service has taken upon itself."""
        self._socket: Final = socket
        self._clients: Final = clients
        self._sizes: Final = sizes
        self._seed: Final = seed
        self._step = "start"
        self._names: Final = itertools.count(1)
        self._ended: Final = asyncio.Condition()
        self._requests = 0
        self._stopping = False
        self._tasks: Final[list[asyncio.Task[None]]] = []

    async def __aenter__(self) -> VolumeLoad:
        for number in range(self._clients):
            client = await VolumeClient.to(self._socket, f"c{self._seed}.{number}")
            self._tasks.append(asyncio.create_task(self._work(client, Random(self._seed * 1000 + number))))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Let every client end its round, and count it.

        Raises:
            TimeoutError: one does not.
        """
        self._stopping = True
        async with asyncio.timeout(STOP_S):
            await asyncio.gather(*self._tasks)

    def step(self, name: str) -> Seen:
        """What begins from here on is counted under this name."""
        self._step = name
        return self.steps.setdefault(name, Seen())

    async def more(self, requests: int, timeout_s: float = 60.0) -> None:
        """Until so many more requests have ended.

        Raises:
            TimeoutError: they have not.
        """
        until = self._requests + requests
        async with asyncio.timeout(timeout_s), self._ended:
            await self._ended.wait_for(lambda: self._requests >= until)

    @property
    def failures(self) -> list[Failure]:
        return [failure for seen in self.steps.values() for failure in seen.failures]

    async def verify(self) -> int:
        """Compare every volume that there should be with what was written; how many there were. Counted in the current
        step; call it when the load has stopped, with all backends there.
        """
        client = await VolumeClient.to(self._socket, f"v{self._seed}.{self._step}")
        try:
            for name, digest in self.contents.items():
                answer = await self.counted(client, "checksum", name)
                if answer is not None and answer.said.get("sha256") != digest:
                    self.failed(f"checksum {name}", f"{answer}: it does not hold what was written")
        except Given:
            """It is counted."""
        finally:
            await client.close()
        return len(self.contents)

    async def counted(self, client: VolumeClient, do: str, volume: str, **more: object) -> Answer | None:
        """The answer to a request, if it was done; how it ended is counted."""
        seen, what = self.steps.setdefault(self._step, Seen()), f"{do} {volume}"
        try:
            answer = await client.ask(do, volume, **more)
        except Lost as error:
            seen.requests += 1
            self.failed(what, str(error))
            raise Given from None
        seen.requests += 1
        self.accepted += answer.was_accepted
        seen.max_ms = max(seen.max_ms, answer.first_s * 1000)
        async with self._ended:
            self._requests += 1
            self._ended.notify_all()
        if answer.state == "done":
            return answer
        if answer.state == "refused" and answer.reason == "NoBackend":
            seen.refused += 1
        else:
            self.failed(what, str(answer))
        return None

    def failed(self, what: str, why: str) -> None:
        self.steps.setdefault(self._step, Seen()).failures.append(Failure(self._step, what, why))

    async def _work(self, client: VolumeClient, chosen: Random) -> None:
        try:
            while not self._stopping:
                try:
                    await self._round(client, chosen)
                except Given:
                    if client.is_closed:
                        return
        finally:
            await client.close()

    async def _round(self, client: VolumeClient, chosen: Random) -> None:
        """A volume is made, written, copied to another backend and compared; one of the two is deleted."""
        name, content = f"v{self._seed}.{next(self._names)}", chosen.randbytes(chosen.randint(*self._sizes))
        copy, digest = f"{name}.copy", hashlib.sha256(content).hexdigest()
        home, away = chosen.choice(self.backends), chosen.choice(self.backends)
        await self._done(client, "create", name, size=len(content), backend=home)
        for begin, end in itertools.pairwise((0, len(content) // 3, len(content))):
            data = base64.b64encode(content[begin:end]).decode()
            await self._done(client, "write", name, offset=begin, data=data)
        self.contents[name] = digest
        await self._done(client, "copy", name, to=copy, backend=away)
        self.contents[copy] = digest
        await self._compare(client, copy, content, chosen)
        await self._delete(client, name)
        if chosen.random() > KEPT_SHARE:
            await self._delete(client, copy)
        self.rounds += 1

    async def _delete(self, client: VolumeClient, volume: str) -> None:
        digest = self.contents.pop(volume)
        if await self.counted(client, "delete", volume) is None:
            self.contents[volume] = digest  # its backend has gone, and it with it, until that comes back
            raise Given

    async def _compare(self, client: VolumeClient, volume: str, content: bytes, chosen: Random) -> None:
        begin = chosen.randrange(max(1, len(content) - READ_BYTES))
        expected = content[begin : begin + READ_BYTES]
        answer = await self._done(client, "read", volume, offset=begin, length=len(expected))
        if base64.b64decode(answer.said["data"]) != expected:
            self.failed(f"read {volume}", "it gave other bytes than were written")
        answer = await self._done(client, "checksum", volume)
        if answer.said["sha256"] != self.contents[volume]:
            self.failed(f"checksum {volume}", "it does not hold what was written")

    async def _done(self, client: VolumeClient, do: str, volume: str, **more: object) -> Answer:
        """Raises Given."""
        answer = await self.counted(client, do, volume, **more)
        if answer is None:
            raise Given
        return answer
