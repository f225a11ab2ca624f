"""The supervisor's view of a worker process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from hitless.change import Deadline, Refused
from hitless.serve.channel import AsyncChannel, Message
from hitless.serve.live_state import LiveState
from hitless.serve.reaper import Exit, Reaper

NEVER_BORN: Final = Exit(None, None)
"""How a worker ended whose template never said that it had forked it."""


class WorkerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    SERVING = "serving"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Drained:
    """What a worker left behind."""

    handed_over: int = 0
    cut: tuple[str, ...] = ()
    cut_count: int = 0
    died: str | None = None
    """How it died, if it did so before it had finished."""


@dataclass(eq=False)
class WorkerProcess:
    """One worker. `events` are the supervisor's reactions."""

    loop: asyncio.AbstractEventLoop
    reaper: Reaper
    number: int
    generation: int
    row: int
    on_retire: Callable[[WorkerProcess], None]
    on_gone: Callable[[WorkerProcess, Exit], None]
    on_exhausted: Callable[[WorkerProcess, str], None]
    pid: int = 0
    state: WorkerState = WorkerState.STARTING
    began: float = field(default_factory=time.monotonic)
    exit: Exit | None = None
    may_have_accepted: bool = False
    """It was told to serve. Its answer may still be under way, but clients may be with it already."""
    wants_to_retire: bool = False
    was_killed: bool = False
    """By the supervisor: its death is no crash."""
    drained: Drained | None = None
    counters: dict[str, int] = field(default_factory=dict)

    live_hash: str | None = None
    """Of the settings that its runtime has in force; None if it has no runtime."""

    def __post_init__(self) -> None:
        self._channel: AsyncChannel | None = None
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.serving: asyncio.Future[None] = self.loop.create_future()
        self.wants_room: asyncio.Future[None] = self.loop.create_future()
        """Its settings are taken; it goes on when it is admitted."""
        self.gone: asyncio.Future[None] = self.loop.create_future()
        self._reports: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._report_number = 0
        self._live: dict[int, asyncio.Future[Message]] = {}
        self._live_number = 0
        self._state: LiveState | None = None

    def connect(self, sock: socket.socket) -> None:
        """Speaks to the process over `sock`, before the process exists: nothing it says is missed."""
        self._channel = AsyncChannel(self.loop, sock, on_message=self._told, on_closed=self._closed)

    def started(self, pid: int) -> None:
        self.pid = pid
        if self.state is WorkerState.GONE:  # given up before its template answered
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        else:
            self.reaper.watch(pid, self._exited)

    # Passing it on to the supervisor that replaces this one

    def freeze(self) -> dict[str, Any] | None:
        """What the next supervisor must know; None if it is gone."""
        if self._channel is None or self.exit is not None:
            return None
        is_open = self._channel.is_open
        return {
            "number": self.number,
            "row": self.row,
            "pid": self.pid,
            "state": self.state.value,
            "age_s": time.monotonic() - self.began,
            "may_have_accepted": self.may_have_accepted,
            "wants_to_retire": self.wants_to_retire,
            "was_killed": self.was_killed,
            "drained": None if self.drained is None else asdict(self.drained),
            "counters": self.counters,
            "live_hash": self.live_hash,
            "channel": self._channel.fd if is_open else None,
            "is_quiet": self._channel.is_quiet,
        }

    def thaw(self, frozen: Mapping[str, Any]) -> None:
        """Goes on where `freeze` left off, in another program of the same process."""
        self.state = WorkerState(frozen["state"])
        self.began = time.monotonic() - frozen["age_s"]
        self.may_have_accepted = frozen["may_have_accepted"]
        self.wants_to_retire = frozen["wants_to_retire"]
        self.counters = dict(frozen["counters"])
        self.was_killed = frozen["was_killed"]
        self.live_hash = frozen["live_hash"]
        if frozen["drained"] is not None:
            self.drained = Drained(**{**frozen["drained"], "cut": tuple(frozen["drained"]["cut"])})
        _settle(self.ready)
        if self.state is not WorkerState.READY:
            _settle(self.serving)
        if frozen["channel"] is not None:
            self.connect(socket.socket(fileno=frozen["channel"]))
        if frozen["pid"]:
            self.started(frozen["pid"])

    # What it is told

    def probe(self, sock: socket.socket, scheme: str) -> None:
        self._send("probe", [sock.fileno()], keep=[sock], scheme=scheme)

    def serve(self, fds: Sequence[int], **fields: Any) -> None:
        self.may_have_accepted = True
        self._send("serve", fds, row=self.row, generation=self.generation, **fields)

    def take_from(self, sock: socket.socket) -> None:
        self._send("taker", [sock.fileno()], keep=[sock])

    def drain(self, takers: Sequence[socket.socket], *, timeout_s: float, last: Sequence[str]) -> None:
        """`last` names the listening sockets that are closed with it, so that it takes whoever waits there."""
        if self.state is not WorkerState.GONE:
            self.state = WorkerState.DRAINING
        self._send(
            "drain", [sock.fileno() for sock in takers], keep=takers, timeout=timeout_s, last=list(last)
        )

    def tell_siblings(self, rows: Sequence[int]) -> None:
        self._send("siblings", rows=list(rows))

    def reopen_log(self, fd: int) -> None:
        self._send("log", [fd])

    def inherit(self, state: LiveState) -> None:
        """Its runtime is to start with these settings; it waits for them (`inherits` in its configuration)."""
        self._send("settings", [state.fd])

    def admit(self) -> None:
        """It may open what only one process can have."""
        if self.wants_room.done():
            self._send("room")

    async def came_so_far(self) -> None:
        """Returns when it wants room, or is ready without. Raises Refused: it will never be."""
        await asyncio.wait({self.wants_room, self.ready}, return_when=asyncio.FIRST_COMPLETED)
        if self.ready.done():
            self.ready.result()

    def take_state(self) -> LiveState | None:
        """The settings that its runtime has started with, once."""
        state, self._state = self._state, None
        return state

    async def live(self, step: str, fds: Sequence[int] = (), *, deadline: Deadline, **fields: Any) -> Message:
        """Its answer to one step of a change inside the processes (see `hitless.serve.in_place`).

        Raises:
            Refused: it cannot, or has died.
            DeadlinePassed: it did not answer.
        """
        if self.state is WorkerState.GONE:
            raise Refused("worker_died", f"a worker {self.exit} before the {step}")
        self._live_number += 1
        number = self._live_number
        future = self._live[number] = self.loop.create_future()
        self._send("live", fds, step=step, number=number, **fields)
        try:
            answer: Message = await deadline.wait(
                future, f"worker {self.number} did not answer to the {step}"
            )
        finally:
            self._live.pop(number, None)
        if not answer["ok"]:
            raise Refused(
                answer["reason"], answer["message"], answer["detail"], invalid=answer.fields["invalid"]
            )
        return answer

    async def report(self, *, limit: int, timeout_s: float) -> dict[str, Any] | None:
        """What it is doing; None if it is too busy to say, or dies."""
        self._report_number += 1
        number = self._report_number
        future = self._reports[number] = self.loop.create_future()
        self._send("report", number=number, limit=limit)
        try:
            async with asyncio.timeout(timeout_s):
                report: dict[str, Any] | None = await future
                return report
        except TimeoutError:
            return None
        finally:
            self._reports.pop(number, None)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends it at once. One that was never forked is forgotten: were it to come yet, it would read end of file."""
        self.was_killed = True
        if not self.pid:
            self._exited(NEVER_BORN)
        elif self.exit is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _send(
        self, kind: str, fds: Sequence[int] = (), *, keep: Sequence[socket.socket] = (), **fields: Any
    ) -> None:
        if self._channel is not None and self._channel.is_open:
            self._channel.send(kind, fds, keep=keep, **fields)
        else:
            for sock in keep:
                sock.close()

    # What it says

    def _told(self, message: Message) -> None:
        match message.kind:
            case "ready":
                self.state = WorkerState.READY
                self._note_live(message)
                _settle(self.ready)
            case "room":
                _settle(self.wants_room)
            case "failed":
                detail = message.fields.get("detail", "")
                _refuse(self.ready, Refused(message["reason"], message["message"], detail))
            case "serving":
                if self.state is WorkerState.READY:  # else it was told to drain meanwhile
                    self.state = WorkerState.SERVING
                _settle(self.serving)
            case "live":
                answer = self._live.get(message["number"])
                if answer is not None and not answer.done():
                    answer.set_result(message)
                else:  # nobody waits for it any more
                    for fd in message.fds:
                        os.close(fd)
            case "retire":
                self.wants_to_retire = True
                self.on_retire(self)
            case "exhausted":
                self.on_exhausted(self, message["error"])
            case "report":
                self.counters = message["counters"]
                future = self._reports.get(message["number"])
                if future is not None and not future.done():
                    future.set_result(message.fields)
            case "drained":
                self.counters = counters = message["counters"]
                self.drained = Drained(
                    counters.get("handed_over", 0), tuple(message["cut"]), message["cut_count"]
                )

    def _note_live(self, message: Message) -> None:
        live = message.fields.get("live")
        if live is not None:
            self.live_hash = live["hash"]
            self._state = LiveState(message.fds[0], live["hash"], live["name"], tuple(live["exclusive"]))

    def _closed(self) -> None:
        """It has closed its end: it is exiting, and the reaper will say how."""
        if self.exit is not None:
            self._ended()

    def _exited(self, ended: Exit) -> None:
        self.exit = ended
        if self._channel is not None and self._channel.is_open:
            self._channel.read_rest()  # its last words may still be queued
        self._ended()

    def _ended(self) -> None:
        if self.state is WorkerState.GONE or self.exit is None:
            return
        was = self.state
        self.state = WorkerState.GONE
        if self.drained is None:
            self.drained = Drained(died=str(self.exit))
        refusal = Refused("worker_died", f"a worker {self.exit} while {was}")
        _refuse(self.ready, refusal)
        _refuse(self.serving, refusal)
        for answer in self._live.values():
            if not answer.done():
                answer.set_exception(refusal)
                answer.exception()
        for future in self._reports.values():
            if not future.done():
                future.set_result(None)
        if self._channel is not None:
            self._channel.close()
        _settle(self.gone)
        self.on_gone(self, self.exit)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _refuse(future: asyncio.Future[None], refusal: Refused) -> None:
    if not future.done():
        future.set_exception(refusal)
        future.exception()  # retrieved: the one who waits sees it all the same
