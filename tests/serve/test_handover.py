from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hitless.serve import channel
from hitless.serve.handover import WINDOW, Giver, Taker


@dataclass(eq=False)
class Idle:
    """An idle connection as the giver has it; `client` is the other end of the same TCP connection, so to speak."""

    number: int
    sock: socket.socket
    client: socket.socket
    forgotten: int = 0
    kept: int = 0

    @classmethod
    def make(cls, number: int = 0) -> Idle:
        ours, client = socket.socketpair()
        ours.setblocking(False)
        client.setblocking(False)
        return cls(number, ours, client)

    def release(self) -> tuple[int, int]:
        return self.sock.fileno(), self.number

    def forget(self) -> None:
        self.forgotten += 1
        self.sock.close()

    def keep(self) -> None:
        self.kept += 1

    def close(self) -> None:
        self.sock.close()
        self.client.close()

    @property
    def is_decided(self) -> bool:
        return self.forgotten + self.kept > 0


@dataclass(eq=False)
class Process:
    """A worker that takes. `die` is kill -9: the kernel closes everything that it holds."""

    loop: asyncio.AbstractEventLoop
    may_take: Callable[[dict[str, Any]], bool] = lambda facts: True
    owned: dict[int, socket.socket] = field(default_factory=dict)
    takers: list[Taker] = field(default_factory=list)

    def pair(self) -> socket.socket:
        ours, theirs = channel.pair()
        taker = Taker(
            self.loop, theirs, may_take=self.may_take, adopt=self.adopt, on_closed=self.takers.remove
        )
        self.takers.append(taker)
        return ours

    def adopt(self, sock: socket.socket, facts: dict[str, Any]) -> None:
        assert facts["n"] not in self.owned
        self.owned[facts["n"]] = sock

    def die(self) -> None:
        for taker in self.takers:
            taker.close()
        for sock in self.owned.values():
            sock.close()
        self.owned.clear()


class RawTaker:
    """The other end of a pair, played by hand."""

    def __init__(self) -> None:
        self.ours, self.sock = channel.pair()

    def receive(self) -> tuple[int, list[int]]:
        packet, fds = channel.receive_packet(self.sock, 8192, descriptors=4)
        return json.loads(packet)[0], fds

    def receive_all(self) -> Iterator[tuple[int, list[int]]]:
        with suppress(BlockingIOError):
            while True:
                yield self.receive()

    def answer(self, number: int, *, taken: bool) -> None:
        self.sock.send(number.to_bytes(8, "big") + bytes([taken]))


def giver_of(*takers: socket.socket) -> Giver:
    giver = Giver(asyncio.get_running_loop(), lambda number: {"n": number})
    for sock in takers:
        giver.add_taker(sock)
    return giver


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - what is waited for knows nothing of events
            await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Lets the loop do all that is there to do."""
    for _ in range(count):
        await asyncio.sleep(0)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def nothing_leaks() -> Any:
    before = open_files()
    yield
    assert open_files() <= before


async def test_the_giver_closes_its_copy_on_the_acknowledgement_and_the_client_notices_nothing() -> None:
    process, connection = Process(asyncio.get_running_loop()), Idle.make()
    giver = giver_of(process.pair())
    connection.client.send(b"early")  # bytes that arrive on the way wait in the kernel
    giver.give(connection)
    await until(lambda: connection.is_decided)
    assert (connection.forgotten, connection.kept, giver.given) == (1, 0, 1)
    assert process.owned[0].recv(10) == b"early"
    with pytest.raises(BlockingIOError):
        connection.client.recv(1)
    process.owned[0].send(b"answer")
    assert connection.client.recv(10) == b"answer"
    giver.close()
    process.die()
    connection.close()


async def test_what_arrives_is_not_inherited_by_what_the_application_executes() -> None:
    process, connection = Process(asyncio.get_running_loop()), Idle.make()
    giver = giver_of(process.pair())
    giver.give(connection)
    await until(lambda: connection.is_decided)
    assert not process.owned[0].get_inheritable()
    giver.close()
    process.die()
    connection.close()


async def test_a_refused_connection_is_kept() -> None:
    process = Process(asyncio.get_running_loop(), may_take=lambda facts: False)
    connection = Idle.make()
    giver = giver_of(process.pair())
    giver.give(connection)
    await until(lambda: connection.is_decided)
    assert (connection.forgotten, connection.kept, giver.refused) == (0, 1, 1)
    assert connection.client.send(b"x") == 1
    giver.close()
    process.die()
    connection.close()


async def test_a_taker_without_descriptors_left_refuses() -> None:
    connection = Idle.make()
    process = Process(asyncio.get_running_loop())
    ours = process.pair()
    giver = giver_of(ours)
    # As the kernel delivers it to a process that has run out of descriptors: the packet without what it carried.
    ours.send(json.dumps([1, {"n": 0}]).encode())
    giver._takers[0].pending[1] = connection
    await until(lambda: connection.is_decided)
    assert (connection.kept, process.owned) == (1, {})
    giver.close()
    process.die()
    connection.close()


async def test_without_takers_a_connection_is_kept_at_once() -> None:
    connection = Idle.make()
    giver_of().give(connection)
    assert connection.kept == 1
    connection.close()


async def test_what_a_dead_taker_had_not_acknowledged_is_offered_to_another() -> None:
    raw, process = RawTaker(), Process(asyncio.get_running_loop())
    giver = giver_of(raw.ours)
    connections = [Idle.make(number) for number in range(3)]
    for connection in connections:
        giver.give(connection)
    giver.add_taker(process.pair())
    await turns()
    assert not any(connection.is_decided for connection in connections)
    raw.sock.close()
    await until(lambda: all(connection.forgotten == 1 for connection in connections))
    assert sorted(process.owned) == [0, 1, 2]
    giver.close()
    process.die()
    for connection in connections:
        connection.close()


async def test_what_a_dead_taker_had_not_acknowledged_is_kept_where_there_is_no_other() -> None:
    raw, connection = RawTaker(), Idle.make()
    giver = giver_of(raw.ours)
    giver.give(connection)
    raw.sock.close()
    await until(lambda: connection.is_decided)
    assert (connection.forgotten, connection.kept) == (0, 1)
    giver.close()
    connection.close()


async def test_acknowledgements_queued_before_a_death_count_though_the_kernel_reports_a_reset_first() -> None:
    raw = RawTaker()
    giver = giver_of(raw.ours)
    connections = [Idle.make(number) for number in range(3)]
    for connection in connections:
        giver.give(connection)
    number, fds = raw.receive()
    raw.answer(number, taken=True)
    raw.sock.close()  # two packets unread: a reset, then the acknowledgement, then the end of file
    await until(lambda: all(connection.is_decided for connection in connections))
    assert [connection.forgotten for connection in connections] == [1, 0, 0]
    assert [connection.kept for connection in connections] == [0, 1, 1]
    for fd in fds:
        os.close(fd)
    giver.close()
    for connection in connections:
        connection.close()


async def test_a_connection_whose_taker_dies_after_its_acknowledgement_is_lost_with_it_and_not_kept() -> None:
    process, connection = Process(asyncio.get_running_loop()), Idle.make()
    giver = giver_of(process.pair())
    giver.give(connection)
    await until(lambda: bool(process.owned))
    process.die()
    await until(lambda: connection.is_decided)
    assert (connection.forgotten, connection.kept) == (1, 0)
    assert connection.client.recv(1) == b"", "the kernel has told the client"
    giver.close()
    connection.close()


async def test_what_a_giver_had_sent_before_it_died_is_taken() -> None:
    process, connection = Process(asyncio.get_running_loop()), Idle.make()
    giver = giver_of(process.pair())
    giver.give(connection)
    giver.close()  # kill -9: its copy of the connection goes, too
    connection.sock.close()
    await until(lambda: bool(process.owned))
    connection.client.send(b"still there")
    assert process.owned[0].recv(20) == b"still there"
    assert process.takers == []
    process.die()
    connection.close()


async def test_what_a_dead_giver_had_offered_and_may_not_be_taken_is_closed() -> None:
    process = Process(asyncio.get_running_loop(), may_take=lambda facts: False)
    connection = Idle.make()
    giver = giver_of(process.pair())
    giver.give(connection)
    giver.close()
    connection.sock.close()
    await until(lambda: process.takers == [])
    assert process.owned == {}
    assert connection.client.recv(1) == b""
    connection.close()


async def test_no_more_than_a_window_is_under_way_to_one_taker() -> None:
    raw = RawTaker()
    giver = giver_of(raw.ours)
    connections = [Idle.make(number) for number in range(WINDOW + 10)]
    for connection in connections:
        giver.give(connection)
    got = list(raw.receive_all())
    assert 0 < len(got) <= WINDOW
    for number, fds in got:
        raw.answer(number, taken=True)
        os.close(fds[0])
    await until(lambda: sum(connection.forgotten for connection in connections) == len(got))
    more, fds = raw.receive()
    assert more == len(got) + 1, "an answer makes room"
    os.close(fds[0])
    raw.sock.close()
    await until(lambda: all(connection.is_decided for connection in connections))
    giver.close()
    for connection in connections:
        connection.close()


async def test_what_is_under_way_to_a_taker_that_is_replaced_completes_and_the_rest_goes_to_the_new_one() -> (
    None
):
    raw, process = RawTaker(), Process(asyncio.get_running_loop())
    giver = giver_of(raw.ours)
    first, second = Idle.make(1), Idle.make(2)
    giver.give(first)
    giver.replace_takers([process.pair()])
    giver.give(second)
    await until(lambda: second.forgotten == 1)
    assert not first.is_decided
    number, fds = raw.receive()
    raw.answer(number, taken=True)
    await until(lambda: first.forgotten == 1)
    with pytest.raises(OSError):  # the pair is closed once nothing is under way
        raw.answer(number, taken=True)
    os.close(fds[0])
    raw.sock.close()
    giver.close()
    process.die()
    first.close()
    second.close()


async def test_a_connection_that_was_closed_while_it_waited_holds_up_nobody() -> None:
    process = Process(asyncio.get_running_loop())
    gone, other = Idle.make(1), Idle.make(2)
    giver = giver_of(process.pair())
    gone.sock.close()
    giver.give(gone)
    giver.give(other)
    await until(lambda: other.is_decided)
    assert (gone.is_decided, other.forgotten) == (False, 1)
    giver.close()
    process.die()
    gone.close()
    other.close()


async def test_many_connections_are_spread_over_all_takers() -> None:
    loop = asyncio.get_running_loop()
    processes = [Process(loop) for _ in range(4)]
    giver = giver_of(*(process.pair() for process in processes))
    connections = [Idle.make(number) for number in range(200)]
    for connection in connections:
        giver.give(connection)
    await until(lambda: all(connection.forgotten == 1 for connection in connections))
    assert [len(process.owned) for process in processes] == [50] * 4
    giver.close()
    for process in processes:
        process.die()
    for connection in connections:
        connection.close()


@dataclass
class World:
    """Random events on one giver, some takers and their connections; `check` is the promise."""

    random: random.Random
    giver: Giver = field(default_factory=giver_of)
    alive: list[Process] = field(default_factory=list)
    connections: list[Idle] = field(default_factory=list)

    def owners(self, connection: Idle) -> int:
        """Processes that read from the connection, or will when they notice."""
        ours = connection.kept > 0
        return ours + sum(connection.number in process.owned for process in self.alive)

    def has_lost(self, connection: Idle) -> bool:
        """Whether the client has been told: every copy is closed."""
        try:
            return connection.client.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def born(self) -> None:
        if len(self.alive) < 4:
            is_picky = self.random.random() < 0.3
            process = Process(
                asyncio.get_running_loop(),
                may_take=lambda facts: not is_picky or self.random.random() < 0.5,
            )
            self.alive.append(process)
            self.giver.add_taker(process.pair())

    def killed(self) -> None:
        if self.alive:
            self.alive.pop(self.random.randrange(len(self.alive))).die()

    def given(self) -> None:
        for _ in range(self.random.randrange(1, 6)):
            self.connections.append(Idle.make(len(self.connections)))
            self.giver.give(self.connections[-1])

    def reaimed(self) -> None:
        some = self.random.sample(self.alive, k=self.random.randint(0, len(self.alive)))
        self.giver.replace_takers([process.pair() for process in some])

    def check(self) -> None:
        for connection in self.connections:
            assert connection.forgotten + connection.kept <= 1, "decided once"
            assert self.owners(connection) <= 1, "never owned by two"

    async def settle(self) -> None:
        await until(lambda: all(connection.is_decided for connection in self.connections))
        self.check()
        for connection in self.connections:
            lost = self.has_lost(connection)
            assert lost == (self.owners(connection) == 0), "owned by nobody only if its owner was killed"
            assert not (lost and connection.kept)

    def close(self) -> None:
        self.giver.close()
        for process in self.alive:
            process.die()
        for connection in self.connections:
            connection.close()


@pytest.mark.parametrize("seed", range(60))
async def test_random_deaths_at_any_step_never_lead_to_two_owners_nor_to_none(seed: int) -> None:
    world = World(random.Random(seed))
    steps = [world.born, world.killed, world.given, world.given, world.given, world.reaimed]
    try:
        for _ in range(60):
            world.random.choice(steps)()
            await turns(world.random.randrange(0, 4))
            world.check()
        await world.settle()
    finally:
        world.close()


async def test_a_process_that_dies_between_its_acknowledgement_and_the_givers_look_owns_its_connections() -> (
    None
):
    for seed in range(30):
        loop, chance = asyncio.get_running_loop(), random.Random(seed)
        dying, living = Process(loop), Process(loop)
        giver = giver_of(dying.pair(), living.pair())
        connections = [Idle.make(number) for number in range(30)]
        for connection in connections:
            giver.give(connection)
        await turns(chance.randrange(0, 3))
        taken = set(dying.owned)
        dying.die()
        await until(lambda connections=connections: all(one.is_decided for one in connections))
        assert set(living.owned) == {connection.number for connection in connections} - taken
        giver.close()
        living.die()
        for connection in connections:
            connection.close()
