"""The volume service with real servers: its catalogue in PostgreSQL, its requests from RabbitMQ."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from kombu import Connection, Consumer, Message, Producer, Queue
from tests.demo.test_volumes import claims_exclude_each_other
from tests.demo.test_volumes_changes import ALWAYS, Ground, ground
from tests.servers.postgres import Postgres, running_postgres
from tests.servers.rabbitmq import RabbitMQ
from volumes.catalog import Catalog, Settled

from hitless.demo.storage import CLEAN, volume_service

ANSWER_S = 90.0
DATABASES = itertools.count(1)

pytestmark = pytest.mark.timeout(400)  # RabbitMQ takes long to start on a busy machine


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The URL of an empty one."""
    name = f"volumes{next(DATABASES)}"
    postgres.sql(f"CREATE DATABASE {name}")
    return postgres.url(name)


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """A name of the test's own."""
    return request.node.name


def states(database: str) -> Counter[str]:
    """The requests in the catalogue, by state."""
    with psycopg.connect(database) as db:
        return Counter(dict(db.execute("SELECT state, count(*) FROM requests GROUP BY 1").fetchall()))


class QueueClient:
    """Asks through RabbitMQ, one request at a time. Blocking."""

    def __init__(self, url: str, queue: str, name: str) -> None:
        self._queue = queue
        self.name = name
        self._numbers = itertools.count(1)
        self._connection = Connection(url)
        channel = self._connection.default_channel
        self._producer = Producer(channel)
        self._replies = Queue(f"replies.{queue}.{name}", exclusive=True)
        self._answers: dict[str, dict[str, Any]] = {}
        Consumer(channel, [self._replies], on_message=self._came, no_ack=True).consume()

    def ask(self, do: str, volume: str, **more: object) -> dict[str, Any]:
        """The last answer."""
        number = f"{self.name}.{next(self._numbers)}"
        order = json.dumps({"id": number, "do": do, "volume": volume, **more})
        self._producer.publish(
            order.encode(),
            exchange="",
            routing_key=self._queue,
            reply_to=self._replies.name,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
        )
        deadline = time.monotonic() + ANSWER_S
        while number not in self._answers:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=max(0.1, deadline - time.monotonic()))
            assert time.monotonic() < deadline, f"no answer to {order[:200]}"
        return self._answers.pop(number)

    def close(self) -> None:
        self._connection.close()

    def _came(self, message: Message) -> None:
        answer = json.loads(message.body)
        if answer["state"] != "accepted":
            self._answers[answer["id"]] = answer


class QueueLoad:
    """Clients that make, copy, compare and delete volumes through RabbitMQ, until they are stopped."""

    def __init__(self, url: str, queue: str, clients: int) -> None:
        self.answers: Counter[str] = Counter()
        self.recorded = 0
        """Requests that the catalogue must have."""
        self._clients = [QueueClient(url, queue, f"q{number}") for number in range(clients)]
        self._stopping = False
        self._more = asyncio.Condition()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(self._clients):
                group.create_task(self._work(client, Random(number)))

    async def more(self, answers: int) -> None:
        until = self.answers.total() + answers
        async with asyncio.timeout(ANSWER_S), self._more:
            await self._more.wait_for(lambda: self.answers.total() >= until)

    def stop(self) -> None:
        self._stopping = True

    async def _work(self, client: QueueClient, chosen: Random) -> None:
        numbers = itertools.count(1)
        while not self._stopping:
            await self._round(client, f"{client.name}.{next(numbers)}", chosen)
        await asyncio.to_thread(client.close)

    async def _round(self, client: QueueClient, name: str, chosen: Random) -> None:
        content = chosen.randbytes(40_000)
        data, digest = base64.b64encode(content).decode(), hashlib.sha256(content).hexdigest()
        await self._ask(client, "create", name, size=len(content), backend=chosen.choice(ALWAYS))
        await self._ask(client, "write", name, data=data)
        copied = await self._ask(client, "copy", name, to=f"{name}.copy", backend=chosen.choice(ALWAYS))
        assert copied["sha256"] == digest
        checked = await self._ask(client, "checksum", f"{name}.copy")
        assert checked["sha256"] == digest
        await self._ask(client, "delete", name)

    async def _ask(self, client: QueueClient, do: str, volume: str, **more: object) -> dict[str, Any]:
        answer = await asyncio.to_thread(client.ask, do, volume, **more)
        assert answer["state"] == "done", answer
        self.recorded += do != "checksum"
        self.answers[do] += 1
        async with self._more:
            self._more.notify_all()
        return answer


@asynccontextmanager
async def loaded(url: str, queue: str, *, clients: int = 3) -> AsyncIterator[QueueLoad]:
    """In the end every client has finished its round."""
    load = QueueLoad(url, queue, clients)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        try:
            yield load
        finally:
            load.stop()


async def served_by_servers(made: Ground, database: str, url: str, queue: str) -> None:
    """Go over to them, while the service runs."""
    await made.change(made.in_force.but(top={"database": database, "requests": f"{url}?queue={queue}"}))


def test_of_two_requests_for_one_volume_the_second_is_refused(database: str) -> None:
    claims_exclude_each_other(database)


def test_the_end_of_a_request_is_recorded_across_a_lost_connection_to_postgresql(
    postgres: Postgres, database: str
) -> None:
    catalog = Catalog(database)
    catalog.accept_create("r1", "a", backend="disk", size=1)
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'volumes%'")
    catalog.end("r1", "done", Settled("a", "available"), answer={})
    assert catalog.volume("a").state == "available"
    assert catalog.request("r1") == ("done", {})
    catalog.close()


async def test_changes_lose_no_message_and_no_action(
    folder: Path, rabbitmq: RabbitMQ, database: str, queue: str
) -> None:
    async with ground(folder, targets=1) as made:
        await served_by_servers(made, database, rabbitmq.url(), queue)
        first, second = made.targets[0].portals
        async with loaded(rabbitmq.url(), queue) as load:
            for new in (
                made.in_force.but(san={"kind": "target", "address": first}),
                made.in_force.but(san={"kind": "target", "address": second, "connections": 3}),
                made.in_force.but(copying={"chunk": 8192}),
                made.in_force,
            ):
                await made.change(new)
                await load.more(6)
            nobody = database.replace("@127.0.0.1", "@127.0.0.2")
            for top, message in (
                ({"database": nobody}, "the catalogue cannot be reached"),
                ({"requests": "amqp://guest:guest@127.0.0.1:1//"}, "RabbitMQ cannot be reached"),
                ({"requests": rabbitmq.url().replace("guest:guest", "guest:wrong")}, "ACCESS_REFUSED"),
            ):
                found = await made.refused(made.in_force.but(top=top).text())
                assert found[0] == "build_failed"
                assert message in found[1]
                await load.more(6)
        await made.stop()
        assert states(database) == Counter(done=load.recorded)
        made.targets[0].process.terminate()
        await made.targets[0].ended()
        assert {each.ended for each in made.targets[0].connections.values()} == {CLEAN}


async def test_what_a_stopped_service_did_not_take_the_next_one_does(
    folder: Path, rabbitmq: RabbitMQ, database: str, queue: str
) -> None:
    async with ground(folder, targets=0) as made, AsyncExitStack() as services:
        await served_by_servers(made, database, rabbitmq.url(), queue)
        async with loaded(rabbitmq.url(), queue) as load:
            await load.more(5)
            await made.stop()
            await services.enter_async_context(volume_service(made.config))
            await load.more(5)
        assert states(database) == Counter(done=load.recorded)


async def test_a_lost_connection_to_rabbitmq_is_made_again_and_loses_nothing(
    folder: Path, rabbitmq: RabbitMQ, database: str, queue: str
) -> None:
    async with ground(folder, targets=0) as made, relay(rabbitmq.port) as (port, cut):
        url = rabbitmq.url().replace(str(rabbitmq.port), str(port))
        await served_by_servers(made, database, url, queue)
        async with loaded(rabbitmq.url(), queue) as load:
            for _ in range(3):
                await load.more(4)
                cut()
            await load.more(4)
        await made.stop()
        assert made.service.log.read_text().count("the connection to RabbitMQ is lost") == 3
        assert states(database) == Counter(done=load.recorded)


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[tuple[int, Any]]:
    """A port that leads to another one, and a function that cuts all connections through it."""
    through: set[asyncio.StreamWriter] = set()

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        through.update((writer, back))
        await asyncio.gather(one_way(reader, back), one_way(there, writer))
        through.difference_update((writer, back))

    def cut() -> None:
        for writer in through:
            writer.transport.abort()

    server = await asyncio.start_server(came, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], cut
    finally:
        server.close()
        cut()
