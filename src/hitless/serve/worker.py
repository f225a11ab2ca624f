"""One worker process: serves the application, and does what the supervisor says.

It is a fork of the template (or the template itself, where forking is unsafe). The supervisor speaks to it over its channel
(see the table in docs/design.md); the end of file on that channel means that the supervisor is gone, and then the worker closes
its listening sockets at once, finishes what it has, and exits: no orphan ever holds a port.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

from hitless.serve import children, orphan
from hitless.serve import scoreboard as board
from hitless.serve.acceptor import Acceptor
from hitless.serve.boot import SHUTDOWN_S
from hitless.serve.channel import MESSAGE_CHARS, AsyncChannel, Message, clip, fitting
from hitless.serve.code import Program
from hitless.serve.handover import Giver, Taker
from hitless.serve.hosting import Hosting
from hitless.serve.http.engine import Engine
from hitless.serve.http.errors import StartupFailed
from hitless.serve.http.facts import Facts, Listener
from hitless.serve.http.options import HttpOptions
from hitless.serve.program import ProgramEngine
from hitless.serve.tls import tls_context
from hitless.serve.worker_log import WorkerLog, flush, print_line

SLACK: Final = 2
"""Connections that a worker may have above the least loaded of its siblings."""

MOST_DESCRIBED: Final = 1000
"""Connections that are described one by one, however many are asked for; their number is always told."""

BEAT_S: Final = 0.25
"""How often a worker writes its figures to the scoreboard."""

ORPHAN_GRACE_S: Final = 5.0
"""A worker without a supervisor that should have drained and shut down this long ago is killed."""


class Worker:
    """State of this process, owned by its event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, program: Program, config: dict[str, Any]
    ) -> None:
        self._loop: Final = loop
        self._config: Final = config
        self._options: Final = HttpOptions(**config["http"])
        self._channel: Final = AsyncChannel(loop, sock, on_message=self._told, on_closed=self._orphaned)
        self._hosting: Final = Hosting(loop, program.code, self._channel.send)
        self._engine: Final = self._new_engine(program.app)
        self._giver: Final = Giver(loop, Facts.as_dict)
        self._takers: list[Taker] = []
        self._acceptors: dict[str, Acceptor] = {}
        self._listeners: dict[str, Listener] = {}
        self._board: board.Scoreboard | None = None
        self._row: memoryview | None = None
        self._row_index = 0
        self._siblings: list[int] = []
        self._is_ready = False
        self._draining = False
        self._retiring = False
        self._cut: list[str] = []
        self._done: Final = loop.create_future()
        self._tls: Any = None
        self._deadline: asyncio.TimerHandle | None = None
        limit = int(config["max_requests"])
        self._max_requests: Final = (
            limit + random.randint(0, int(config["max_requests_jitter"])) if limit else 0
        )
        self._answers: Final[dict[str, Callable[[Message], None]]] = {
            "probe": self._probe,
            "serve": self._serve,
            "siblings": self._set_siblings,
            "taker": self._add_taker_of,
            "drain": self._drain,
            "report": self._report,
            "log": self._reopen_log,
            "settings": self._inherit,
            "live": self._hosting.told,
            "room": self._hosting.admit,
        }
        self._has_inherited: Final = asyncio.Event()

    async def run(self) -> None:
        """Starts the application, serves until drained, shuts the application down."""
        try:
            self._tls = tls_context(self._config["tls"])
        except OSError as error:  # ssl.SSLError among them
            message = f"the TLS certificate cannot be used: {error}"
            self._channel.send("failed", reason="tls_invalid", message=message)
            return
        try:
            await self._start_up()
        except StartupFailed as error:
            self._channel.send(
                "failed",
                reason="lifespan_failed",
                message=str(error)[:MESSAGE_CHARS],
                detail=clip(getattr(error, "detail", "")),
            )
            return
        self._is_ready = True
        self._loop.add_signal_handler(signal.SIGTERM, self._retire)
        fds, facts = self._hosting.facts()
        self._channel.send("ready", fds, pid=os.getpid(), **facts)
        for fd in fds:
            os.close(fd)
        await self._done
        await self._shut_down()

    def _new_engine(self, app: Any) -> Engine | ProgramEngine:
        log = WorkerLog(self._config["log"])
        if self._config["http"]["interface"] == "program":
            engine = ProgramEngine(app, loop=self._loop, on_empty=self._check_drained, log=log)
            self._hosting.on_ready, engine.ask = engine.is_up, self._hosting.end_lifetime
            return engine
        return Engine(
            app, self._options, loop=self._loop, on_empty=self._check_drained, log=log, access=print_line
        )

    async def _start_up(self) -> None:
        """The application is ready, and its runtime, if it has one. Raises StartupFailed."""
        if self._config.get("inherits"):
            await self._has_inherited.wait()
        self._hosting.take_in(must_ask=bool(self._config.get("asks_for_room")))
        await self._engine.startup()
        if self._hosting.failure is not None:
            raise StartupFailed(self._hosting.failure[0])

    async def _shut_down(self) -> None:
        try:
            async with asyncio.timeout(SHUTDOWN_S):
                await self._engine.shutdown()
        except TimeoutError:
            print_line(f"the application's shutdown took longer than {SHUTDOWN_S:g} s; left")
        self._channel.send(
            "drained", counters=self._counters(), cut=fitting(self._cut[:100]), cut_count=len(self._cut)
        )

    # What the supervisor says

    def _told(self, message: Message) -> None:
        self._answers[message.kind](message)

    def _inherit(self, message: Message) -> None:
        self._hosting.inherit(message)
        self._has_inherited.set()

    def _probe(self, message: Message) -> None:
        sock = socket.socket(fileno=message.fds[0])
        sock.setblocking(False)
        self._engine.accept(sock, Listener("probe", message["scheme"], ("localhost", None)))

    def _serve(self, message: Message) -> None:
        """Begins to accept; the last descriptor is the scoreboard's."""
        orphan.outlive(self._config["drain_timeout"] + SHUTDOWN_S + ORPHAN_GRACE_S)
        *sockets, board_fd = message.fds
        self._board = board.Scoreboard(board_fd)
        self._row_index = message["row"]
        self._row = self._board.row(self._row_index)
        self._row[board.GENERATION] = message["generation"]
        self._siblings = message["siblings"]
        for fd, spec in zip(sockets, message["listeners"], strict=True):
            tls = self._tls if spec["scheme"] == "https" else None
            listener = Listener(spec["key"], spec["scheme"], tuple(spec["server"]), tls)
            self._listeners[listener.key] = listener
            self._acceptors[listener.key] = self._acceptor(socket.socket(fileno=fd), listener)
        self._row[board.ACCEPTING] = 1
        self._beat()
        self._channel.send("serving")

    def _acceptor(self, sock: socket.socket, listener: Listener) -> Acceptor:
        engine, row = self._engine, self._row
        assert row is not None

        def accept(connection: socket.socket) -> None:
            engine.accept(connection, listener)
            row[board.CONNECTIONS] = len(engine.connections)

        return Acceptor(
            self._loop,
            sock,
            accept=accept,
            over_share=self._is_over_share,
            is_full=self._is_full,
            on_exhausted=self._exhausted,
        )

    def _set_siblings(self, message: Message) -> None:
        self._siblings = message["rows"]

    def _add_taker_of(self, message: Message) -> None:
        """The other end of this pair gives us connections."""
        sock = socket.socket(fileno=message.fds[0])
        self._takers.append(
            Taker(
                self._loop,
                sock,
                may_take=lambda facts: self._listener_of(facts) is not None,
                adopt=self._adopt,
                on_closed=self._takers.remove,
            )
        )

    def _adopt(self, sock: socket.socket, facts: dict[str, Any]) -> None:
        listener = self._listener_of(facts)
        assert listener is not None, "taken means that there is one"
        sock.setblocking(False)
        self._engine.adopt(sock, listener, Facts.from_dict(facts))

    def _listener_of(self, facts: dict[str, Any]) -> Listener | None:
        """Ours by which the connection could have come in; None if it could not have.

        The address may be named in other words than when it was accepted (127.0.0.1:80, now 0.0.0.0:80), and one
        that speaks TLS now takes no connection that has begun without.
        """
        host, port = facts.get("server") or ("", None)
        by_key = self._listeners.get(facts["listener"])
        wildcard = "::" if ":" in host else "0.0.0.0"
        covering = [
            each
            for each in self._listeners.values()
            if port is not None and each.server[1] == port and each.server[0] in (host, wildcard)
        ]
        return next((each for each in (by_key, *covering) if each is not None and each.ssl is None), None)

    def _drain(self, message: Message) -> None:
        """Stops accepting and hands over; again with other takers when the generation changes once more."""
        self._giver.replace_takers([socket.socket(fileno=fd) for fd in message.fds])
        if not self._draining:
            self._draining = True
            self._stop_accepting(last=message["last"])
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(message["timeout"], self._cut_rest)
        self._engine.drain(self._giver.give)
        self._check_drained()

    def _report(self, message: Message) -> None:
        self._channel.send(
            "report",
            number=message["number"],
            connections=fitting(self._engine.describe(min(message["limit"], MOST_DESCRIBED))),
            open=len(self._engine.connections),
            in_flight=self._engine.in_flight,
            counters=self._counters(),
            live_drains=self._hosting.drains(),
            live_reports=self._hosting.reports(),
        )

    def _reopen_log(self, message: Message) -> None:
        reopen_log(message.fds[0])

    def let_go_in_child(self) -> None:
        """Runs in a process that the application has forked off this one, a pool of workers of its own, say.

        Its copies of the sockets would keep the port from being free and clients from hearing that their connection was
        closed, for as long as it lives. Their numbers stay taken, because objects that know them stay, too.
        """
        fds = [each.sock.fileno() for each in self._engine.connections]
        fds += [acceptor.fd for acceptor in self._acceptors.values()]
        fds += [taker.fd for taker in self._takers]
        fds += self._giver.descriptors
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in (self._channel.fd, *fds):
            if fd >= 0:
                os.dup2(null, fd, inheritable=False)
        os.close(null)

    # What happens by itself

    def _beat(self) -> None:
        row, engine = self._row, self._engine
        assert row is not None
        row[board.CONNECTIONS] = len(engine.connections)
        row[board.IN_FLIGHT] = engine.in_flight
        row[board.REQUESTS] = engine.counters.requests
        row[board.BEAT_MS] = int(time.monotonic() * 1000)
        if self._max_requests and engine.counters.requests >= self._max_requests:
            self._retire()
        if not self._done.done():
            self._loop.call_later(BEAT_S, self._beat)

    def _is_over_share(self) -> bool:
        assert self._board is not None
        assert self._row is not None
        self._row[board.CONNECTIONS] = mine = len(self._engine.connections)
        fewest = self._board.fewest_connections(self._siblings, besides=self._row_index)
        return fewest is not None and mine >= fewest + SLACK

    def _is_full(self) -> bool:
        limit = self._config["connections"]
        return limit is not None and len(self._engine.connections) >= limit

    def _exhausted(self, error: OSError) -> None:
        self._channel.send("exhausted", error=str(error), connections=len(self._engine.connections))

    def _retire(self) -> None:
        """Asks to be replaced: the supervisor starts another worker and then drains this one."""
        if not self._retiring and not self._draining:
            self._retiring = True
            self._channel.send("retire", requests=self._engine.counters.requests)

    def _orphaned(self) -> None:
        """The supervisor is gone: free the port at once, finish, exit."""
        if not self._is_ready:
            os._exit(0)  # it may hang in the application's startup, and has served nobody
        timeout = self._config["drain_timeout"]
        self._giver.replace_takers([])
        self._draining = True
        self._stop_accepting(last=list(self._acceptors))
        if self._deadline is None:
            self._deadline = self._loop.call_later(timeout, self._cut_rest)
        self._engine.drain(self._giver.give)
        self._check_drained()

    def _stop_accepting(self, *, last: list[str]) -> None:
        """`last` names the listening sockets that close with us: whoever waits in their queues is taken first."""
        if self._row is not None:
            self._row[board.ACCEPTING] = 0
        for key, acceptor in self._acceptors.items():
            if key in last:
                acceptor.close()
            else:
                acceptor.abandon()
        self._acceptors.clear()

    def _cut_rest(self) -> None:
        self._cut = self._engine.cut()
        self._check_drained(force=True)

    def _check_drained(self, *, force: bool = False) -> None:
        is_empty = not self._engine.connections and not self._engine.in_flight
        if self._draining and (force or is_empty) and not self._done.done():
            if self._deadline is not None:
                self._deadline.cancel()
            for taker in self._takers:
                taker.close()  # what others offer from now on stays theirs
            self._done.set_result(None)

    def _counters(self) -> dict[str, int]:
        return {**self._engine.counters.as_dict(), "refused_handover": self._giver.refused}


def reopen_log(fd: int) -> None:
    """Standard output and error go to `fd` from now on; `fd` itself is closed."""
    flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def serve(sock: socket.socket, program: Program, config: dict[str, Any]) -> NoReturn:
    """Runs a worker in this process and ends the process."""
    _name_process(config)
    signal.set_wakeup_fd(-1)
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
    ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        loop = runner.get_loop()
        worker = Worker(loop, sock, program, config)
        os.register_at_fork(after_in_child=worker.let_go_in_child)
        runner.run(worker.run())
        flush()
        children.end()
        # Not sys.exit(): threads of the application must not keep a drained worker alive.
        os._exit(0)


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop that there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _name_process(config: dict[str, Any]) -> None:
    """What `ps -o comm` and `top` show: at most 15 characters."""
    with open("/proc/self/comm", "w") as comm:
        comm.write(f"{config['name'][:8]}:g{config['generation']}")
