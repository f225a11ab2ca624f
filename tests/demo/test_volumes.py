"""What every backend of the volume service promises, and what its storage target sees."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from volumes.catalog import Catalog, Conflict, Duplicate, Settled
from volumes.directory import Directory
from volumes.driver import Driver, NoSuchVolume, VolumeError, VolumeExists
from volumes.orders import BadOrder, parse
from volumes.pool import Pool
from volumes.remote import Connection, Remote

from hitless.demo.storage import Target, target

SIZE = 300_000
EXTENT = 4096


@pytest.fixture
async def san(folder: Path) -> AsyncIterator[Target]:
    async with target(folder / "san", portals=2) as made:
        yield made


@pytest.fixture(params=["directory", "pool", "target"])
async def driver(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Driver]:
    made: Driver
    if request.param == "target":
        async with target(folder / "san", portals=1) as san:
            made = Remote(san.portals[0], connections=2, timeout_s=30)
            await made.check()
            yield made
            await made.close()
            await san.seen(1)
            await san.closed(san.portals[0])
            assert san.torn() == []
        return
    made = Directory(folder) if request.param == "directory" else pool(folder)
    await made.check()
    yield made
    await made.close()


def pool(folder: Path, *, extents: int = 1000, extent: int = EXTENT) -> Pool:
    return Pool(folder / "pool", size=extents * extent, extent=extent)


async def content(driver: Driver, volume: str) -> bytes:
    async with driver.open(volume) as opened:
        return await opened.read(0, opened.size)


# every backend


async def test_what_is_written_anywhere_is_read_back_and_the_rest_is_zeros(driver: Driver) -> None:
    chosen, expected = Random(1), bytearray(SIZE)
    await driver.create("v", SIZE)
    async with driver.open("v") as volume:
        for _ in range(30):
            begin = chosen.randrange(SIZE)
            data = chosen.randbytes(min(chosen.randrange(1, 20_000), SIZE - begin))
            expected[begin : begin + len(data)] = data
            await volume.write(begin, data)
        await volume.flush()
        assert await volume.read(0, SIZE) == expected
    assert await content(driver, "v") == expected


async def test_two_drivers_of_one_backend_see_what_the_other_wrote(driver: Driver, folder: Path) -> None:
    """As during a change: the old and the new driver, each with volumes in use."""
    other = pool(folder) if isinstance(driver, Pool) else driver
    await driver.create("a", SIZE)
    await other.create("b", SIZE)
    async with driver.open("a") as a, other.open("b") as b:
        for begin in range(0, SIZE, EXTENT):
            await a.write(begin, b"a" * min(EXTENT, SIZE - begin))
            await b.write(begin, b"b" * min(EXTENT, SIZE - begin))
    assert await content(other, "a") == b"a" * SIZE
    assert await content(driver, "b") == b"b" * SIZE


async def test_volumes_are_made_once_and_deleted_once(driver: Driver) -> None:
    await driver.create("v", SIZE)
    with pytest.raises(VolumeExists):
        await driver.create("v", SIZE)
    await driver.delete("v")
    with pytest.raises(NoSuchVolume):
        await driver.delete("v")
    with pytest.raises(NoSuchVolume):
        await content(driver, "v")
    await driver.create("v", SIZE)
    assert await content(driver, "v") == bytes(SIZE)


async def test_nothing_is_read_or_written_past_the_end(driver: Driver) -> None:
    await driver.create("v", SIZE)
    async with driver.open("v") as volume:
        for begin, length in ((SIZE, 1), (SIZE - 1, 2), (-1, 2)):
            with pytest.raises(VolumeError):
                await volume.read(begin, length)
            with pytest.raises(VolumeError):
                await volume.write(begin, bytes(length))


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65])
async def test_a_name_that_could_be_a_path_is_refused(driver: Driver, name: str) -> None:
    with pytest.raises(VolumeError):
        await driver.create(name, SIZE)


# the pool


async def test_a_pool_allocates_what_is_written_and_frees_what_is_deleted(folder: Path) -> None:
    thin = pool(folder, extents=10)
    await thin.check()
    await thin.create("large", 100 * EXTENT)
    async with thin.open("large") as volume:
        await volume.write(50 * EXTENT - 1, b"xx")
        assert len(thin.read().used()) == 2
        with pytest.raises(OSError, match="pool is full"):
            await volume.write(0, bytes(9 * EXTENT))
        assert await volume.read(50 * EXTENT - 1, 2) == b"xx"
    await thin.delete("large")
    await thin.create("small", 10 * EXTENT)
    async with thin.open("small") as volume:
        await volume.write(5, b"y")
        assert await volume.read(0, EXTENT) == bytes(5) + b"y" + bytes(EXTENT - 6)


async def test_a_pool_is_not_made_smaller_than_what_it_holds(folder: Path) -> None:
    await pool(folder).check()
    await pool(folder).create("v", SIZE)
    async with pool(folder).open("v") as volume:
        await volume.write(0, bytes(10 * EXTENT))
    await pool(folder, extents=10).check()
    with pytest.raises(VolumeError, match="uses its first 40960 bytes"):
        await pool(folder, extents=9).check()
    with pytest.raises(VolumeError, match="has extents of 4096 bytes"):
        await pool(folder, extent=8192).check()


# the target


async def test_a_target_knows_of_every_connection_how_it_ended(san: Target) -> None:
    host, _, port = san.portals[0].rpartition(":")
    clean = await Connection.to(san.portals[0], 30)
    await clean.close()
    left = socket.create_connection((host, int(port)))
    left.recv(100)
    left.close()
    torn = socket.create_connection((host, int(port)))
    torn.recv(100)
    torn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    torn.close()
    wrong = socket.create_connection((host, int(port)))
    wrong.sendall(b"\xff" * 100)
    await san.seen(4)
    await san.closed(san.portals[0])
    wrong.close()
    # In the order of the connections, whatever ended first.
    assert [each.ended for each in san.connections.values()] == ["logout", "eof", "reset", "broken"]


async def test_a_driver_keeps_as_many_connections_as_it_should_and_logs_out_of_the_others(
    san: Target,
) -> None:
    driver = Remote(san.portals[0], connections=1, timeout_s=30)
    await driver.check()
    for name in "abc":
        await driver.create(name, SIZE)
    async with driver.open("a"), driver.open("b"), driver.open("c") as volume:
        await driver.close()  # as when the backend is removed: who uses it may finish
        await volume.write(0, b"last")
    await san.seen(3)
    await san.closed(san.portals[0])
    assert [each.ended for each in san.connections.values()] == ["logout"] * 3
    assert (san.store / "c").read_bytes()[:4] == b"last"


async def test_what_is_no_target_is_told(san: Target) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionError, match="cannot connect"):
            await Connection.to(f"127.0.0.1:{nobody.getsockname()[1]}", 30)
        nobody.listen()
        with pytest.raises(TimeoutError, match=r"no target answers at .* within 0\.2 s"):
            await Connection.to(f"127.0.0.1:{nobody.getsockname()[1]}", 0.2)

    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
        with pytest.raises(ConnectionError, match="no storage target"):
            await Connection.to(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", 30)


# the catalogue


def test_of_two_requests_for_one_volume_the_second_is_refused(tmp_path: Path) -> None:
    claims_exclude_each_other(f"sqlite:{tmp_path}/c")


def claims_exclude_each_other(database: str) -> None:
    catalog = Catalog(database)
    catalog.accept_create("r1", "a", backend="disk", size=1)
    with pytest.raises(Conflict, match="a is creating"):
        catalog.accept_write("r2", "a")
    catalog.end("r1", "done", Settled("a", "available"), answer={})
    catalog.accept_copy("r3", "a", to="b", backend="disk", size=1)
    for accept in (catalog.accept_write, catalog.accept_delete):
        with pytest.raises(Conflict, match="a is copying"):
            accept("r4", "a")
    with pytest.raises(VolumeExists):
        catalog.accept_create("r5", "b", backend="disk", size=1)
    with pytest.raises(NoSuchVolume):
        catalog.accept_write("r6", "c")
    with pytest.raises(Duplicate):
        catalog.accept_create("r1", "d", backend="disk", size=1)
    catalog.end("r3", "failed", Settled("a", "available"), Settled("b", None), answer={"error": "why"})
    assert catalog.request("r3") == ("failed", {"error": "why"})
    assert [(row.id, row.state) for row in catalog.volumes()] == [("a", "available")]
    assert [catalog.request(each) for each in ("r2", "r4", "r5", "r6")] == [None] * 4
    catalog.close()


def test_a_request_that_is_not_understood_says_what_is_wrong() -> None:
    for line, message in (
        (b"nonsense", "the request: invalid JSON"),
        (b'{"id": "1", "do": "shrink", "volume": "a"}', "does not match any of the expected tags"),
        (
            b'{"id": "1", "do": "create", "volume": "a", "size": 0}',
            "create.size: input should be greater than 0",
        ),
        (b'{"id": "1", "do": "create", "volume": "../a", "size": 1}', "create.volume: string should match"),
        (b'{"id": "1", "do": "create", "volume": "a", "size": 1, "sise": 1}', "create.sise: extra inputs"),
    ):
        with pytest.raises(BadOrder, match=message):
            parse(line)
