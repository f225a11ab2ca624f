"""The worker's end of changes that are made inside the processes: it is the host of the application's runtime.

The runtime tells its host that it has started (`hitless.live.host`). From then on the supervisor says the steps, in all workers
at the same time; see `hitless.serve.in_place` for their order.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from hitless.serve.channel import MESSAGE_CHARS, Message, clip
from hitless.serve.code import Code

if TYPE_CHECKING:
    from hitless.live.hosted import Hosted
    from hitless.live.lifetime import Lifetime

FILES_SHOWN: Final = 3
DRAINS_SHOWN: Final = 3
"""They travel beside the connections, in the same packet."""


class Hosting:
    """Answers every `live` message by one of the same number: `ok`, or `refused` and why."""

    def __init__(self, loop: asyncio.AbstractEventLoop, code: Code, send: Callable[..., None]) -> None:
        self._loop: Final = loop
        self._code: Final = code
        self._send: Final = send
        self._hosted: Hosted[Any] | None = None
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._running: asyncio.Task[None] | None = None
        """The step that may be broken off."""
        self.failure: tuple[str, str] | None = None
        """Why the runtime could not be started."""
        self.on_ready: Callable[[], None] = lambda: None
        self._inherited: str | None = None
        self._must_ask = False
        self._room: Final[Future[None]] = Future()
        self._lifetime: Lifetime | None = None

    # As the runtime's host

    @property
    def inherited(self) -> str | None:
        return self._inherited

    async def room(self) -> None:
        if self._must_ask:
            self._loop.call_soon_threadsafe(self._send, "room")
            await asyncio.shield(asyncio.wrap_future(self._room))

    def attached(self, hosted: Hosted[Any]) -> None:
        if self._hosted is not None:
            from hitless.live import LiveError

            raise LiveError(
                f"this worker has the runtime {self._hosted.name} already; declare everything at one runtime"
            )
        self._hosted = hosted
        self._loop.call_soon_threadsafe(self.on_ready)

    def failed(self, message: str, detail: str) -> None:
        self.failure = (message, detail)

    def ready(self) -> None:
        self._loop.call_soon_threadsafe(self.on_ready)

    def lifetime(self) -> Lifetime:
        if self._lifetime is None:
            from hitless.live.lifetime import Lifetime

            self._lifetime = Lifetime()
        return self._lifetime

    # As the worker's part

    def end_lifetime(self) -> bool:
        """Ask the program to end; returns whether it listens."""
        if self._lifetime is not None:
            self._lifetime.end()
        return self._lifetime is not None

    def inherit(self, message: Message) -> None:
        """The settings with which the runtime is to start."""
        self._inherited = _read(message.fds[0])

    def admit(self, _message: Message) -> None:
        """The other process has ended."""
        self._room.set_result(None)

    def take_in(self, *, must_ask: bool) -> None:
        """Be the host of what is started in this task and its children, if the application has anything to be a host of.
        `must_ask` says that another process has what only one can have, until the supervisor has ended it.
        """
        self._must_ask = must_ask
        module = sys.modules.get("hitless.live.host")
        if module is not None:
            module.HOST.set(self)

    def facts(self) -> tuple[list[int], dict[str, Any]]:
        """What the supervisor is told when the worker is ready: a descriptor of the settings, to be closed, and their hash."""
        settings = None if self._hosted is None else self._hosted.settings()
        if self._hosted is None or settings is None:
            return [], {}
        return [_write(settings)], {
            "live": {
                "hash": self._hosted.hash,
                "name": self._hosted.name,
                "exclusive": self._hosted.exclusive(),
            }
        }

    def drains(self) -> list[dict[str, Any]]:
        """Generations of settings that this worker still uses."""
        return [] if self._hosted is None else self._hosted.drains()[:DRAINS_SHOWN]

    def reports(self) -> dict[str, Any]:
        """What the program in this worker adds to its status."""
        return {} if self._hosted is None else self._hosted.reports()

    def told(self, message: Message) -> None:
        hosted, step, number = self._hosted, message["step"], message["number"]
        if hosted is None:
            self._refuse(number, "not_live", "there is no runtime in this worker", "")
            return
        if step == "look":
            given = _read(message.fds[0]) if message.fds else None
            self._spawn(number, self._look(hosted, number, given, reads=message["reads"]))
            return
        if step in ("undo", "discard") and self._running is not None:
            self._running.cancel()  # it puts things into order first: see Hosted
        self._running = self._spawn(number, self._done(number, self._step(hosted, message)))

    def _step(self, hosted: Hosted[Any], message: Message) -> Coroutine[Any, Any, None]:
        if message["step"] == "prepare":
            return hosted.prepare(_read(message.fds[0]), message["timeout"])
        steps: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "settle": hosted.settle,
            "swap": hosted.swap,
            "undo": hosted.undo,
            "discard": hosted.discard,
        }
        return steps[message["step"]]()

    async def _look(self, hosted: Hosted[Any], number: int, given: str | None, *, reads: bool) -> None:
        changed = [] if given is not None else await asyncio.to_thread(self._code.changed)
        if not reads:
            self._send("live", number=number, ok=True, code=changed[:FILES_SHOWN])
            return
        found, settings = await hosted.look(given)
        fds = [_write(json.dumps(found)), *([] if settings is None else [_write(settings)])]
        try:
            self._send("live", fds, number=number, ok=True, code=changed[:FILES_SHOWN])
        finally:
            for fd in fds:
                os.close(fd)

    async def _done(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        await work
        self._send("live", number=number, ok=True)

    def _spawn(self, number: int, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(self._answered(number, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answered(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        from hitless.change.ending import to_refusal

        try:
            await work
        except asyncio.CancelledError:
            self._refuse(number, "cancelled", "it was cancelled", "")
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits for the answer is to know
            refused = to_refusal(error)
            self._refuse(number, refused.reason, refused.message, refused.detail, invalid=refused.invalid)

    def _refuse(self, number: int, reason: str, message: str, detail: str, *, invalid: bool = False) -> None:
        self._send(
            "live",
            number=number,
            ok=False,
            reason=reason,
            message=message[:MESSAGE_CHARS],
            detail=clip(detail),
            invalid=invalid,
        )


def _write(text: str) -> int:
    """A descriptor of the text: settings may be larger than a packet, and hold secrets that belong into no file."""
    fd = os.memfd_create("hitless-settings", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(text.encode())
    return fd


def _read(fd: int) -> str:
    """The text at the descriptor, which is closed. Others read the same description: its position is not used."""
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0).decode()
    finally:
        os.close(fd)
