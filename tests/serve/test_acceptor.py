from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from hitless.serve import scoreboard as board
from hitless.serve.acceptor import BATCH, Acceptor
from hitless.serve.scoreboard import Scoreboard

SLACK = 2


def listening(backlog: int = 512) -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(backlog)
    return sock


def connect(to: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(to.getsockname()) for _ in range(count)]


@dataclass(eq=False)
class Sibling:
    """One worker, as far as accepting goes: its own copy of the listening socket, its own row of the scoreboard."""

    number: int
    listener: socket.socket
    page: Scoreboard
    rows: list[int]
    limit: int = 10_000
    taken: list[socket.socket] = field(default_factory=list)
    exhausted: list[OSError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.row = self.page.row(self.number)
        self.row[board.ACCEPTING] = 1
        self.acceptor = Acceptor(
            asyncio.get_running_loop(),
            self.listener.dup(),
            accept=self.accept,
            over_share=self.is_over_share,
            is_full=lambda: len(self.taken) >= self.limit,
            on_exhausted=self.exhausted.append,
        )

    def accept(self, connection: socket.socket) -> None:
        self.taken.append(connection)
        self.row[board.CONNECTIONS] = len(self.taken)

    def is_over_share(self) -> bool:
        fewest = self.page.fewest_connections(self.rows, besides=self.number)
        return fewest is not None and len(self.taken) >= fewest + SLACK

    def close(self) -> None:
        self.acceptor.abandon()
        for connection in self.taken:
            connection.close()


@contextmanager
def siblings(count: int, listener: socket.socket) -> Iterator[list[Sibling]]:
    page = Scoreboard.create()
    with ExitStack() as stack:
        stack.callback(listener.close)
        made = [Sibling(number, listener, page, list(range(count))) for number in range(count)]
        for each in made:
            stack.callback(each.close)
        yield made


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - what is waited for knows nothing of events
            await asyncio.sleep(0.001)


# Accepting


async def test_a_burst_of_connections_is_shared_fairly() -> None:
    listener = listening()
    with siblings(4, listener) as workers:
        clients = connect(listener, 200)
        await until(lambda: sum(len(each.taken) for each in workers) == 200)
        counts = [len(each.taken) for each in workers]
        assert max(counts) - min(counts) <= SLACK + 1, counts
        for client in clients:
            client.close()


async def test_a_worker_over_its_share_accepts_after_all_when_its_siblings_do_not() -> None:
    listener = listening()
    with siblings(2, listener) as (busy, idle):
        busy.acceptor.abandon()  # it computes: it takes nothing, and its row says that it accepts
        clients = connect(listener, 20)
        await until(lambda: len(idle.taken) == 20)
        for client in clients:
            client.close()


async def test_a_full_worker_rests_until_it_is_woken() -> None:
    listener = listening()
    with siblings(1, listener) as (worker,):
        worker.limit = 3
        clients = connect(listener, 5)
        await until(lambda: worker.acceptor._resting is not None)
        assert len(worker.taken) == 3
        worker.taken.pop().close()
        worker.acceptor.wake()
        await until(lambda: len(worker.taken) == 3)
        for client in clients:
            client.close()


async def test_clients_that_wait_are_taken_before_the_listening_socket_closes() -> None:
    listener = listening()
    with siblings(1, listener) as (worker,):
        clients = connect(listener, BATCH * 5)
        worker.acceptor.close()
        assert len(worker.taken) == BATCH * 5
        for client in clients:
            client.close()


async def test_clients_that_wait_are_left_to_the_siblings_when_a_worker_abandons_the_queue() -> None:
    listener = listening()
    with siblings(2, listener) as (leaving, staying):
        clients = connect(listener, 30)
        leaving.acceptor.abandon()
        leaving.row[board.ACCEPTING] = 0
        await until(lambda: len(staying.taken) == 30)
        assert leaving.taken == []
        for client in clients:
            client.close()


async def test_running_out_of_descriptors_is_told_and_survived() -> None:
    listener = listening()
    with siblings(1, listener) as (worker,):
        clients = [socket.socket() for _ in range(10)]
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as probe:
            lowest_free = probe.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 3, before[1]))
        try:
            for client in clients:
                client.connect(listener.getsockname())
            await until(lambda: bool(worker.exhausted))
            assert worker.exhausted[0].errno == errno.EMFILE
            assert len(worker.taken) <= 3
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        await until(lambda: len(worker.taken) == 10)
        for client, connection in zip(clients, worker.taken, strict=True):
            connection.send(b"x")
            assert client.recv(1) == b"x"
            client.close()


async def test_running_out_while_it_closes_ends_the_closing() -> None:
    listener = listening()
    with siblings(1, listener) as (worker,):
        clients = connect(listener, 10)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as probe:
            lowest_free = probe.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        try:
            worker.acceptor.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert worker.exhausted
        for client in clients:
            with suppress(OSError):
                client.close()


# The scoreboard


def test_a_row_is_seen_by_everybody_who_has_the_page() -> None:
    page = Scoreboard.create()
    other = Scoreboard(page.fd)
    page.row(3)[board.REQUESTS] = 2**40
    assert other.read(3)["requests"] == 2**40
    assert Counter(other.read(2).values()) == {0: len(board.FIELDS)}


def test_the_least_loaded_is_looked_for_among_those_that_accept() -> None:
    page = Scoreboard.create()
    for row, (accepting, connections) in enumerate([(1, 7), (0, 0), (1, 5), (1, 1)]):
        page.row(row)[board.ACCEPTING] = accepting
        page.row(row)[board.CONNECTIONS] = connections
    assert page.fewest_connections([0, 1, 2, 3], besides=3) == 5
    assert page.fewest_connections([0, 1, 2], besides=2) == 7
    assert page.fewest_connections([1, 2], besides=2) is None


def test_a_cleared_row_is_as_if_it_had_never_been_used() -> None:
    page = Scoreboard.create()
    for cell in range(len(board.FIELDS)):
        page.row(board.ROWS - 1)[cell] = 9
    page.clear(board.ROWS - 1)
    assert set(page.read(board.ROWS - 1).values()) == {0}
