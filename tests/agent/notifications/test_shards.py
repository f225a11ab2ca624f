"""Grouped processing on a real RabbitMQ: one order per resource, whoever takes it, and however many shards there are."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable

import pytest
from amqp.exceptions import NotFound
from tests.agent.notifications.ground import Listening, Place, listens, message, status, until
from tests.servers.rabbitmq import RabbitMQ

from hitless.agent.agent import Agent
from hitless.agent.notifications.shards import Layout
from hitless.agent.notifications.spec import ListenerSpec, Shards
from hitless.agent.sample import Sample

pytestmark = pytest.mark.timeout(300)

RESOURCES = 20


@pytest.fixture
def place(rabbitmq: RabbitMQ) -> Place:
    return Place.on(rabbitmq.url(""))


@pytest.fixture
def told() -> list[Sample]:
    """What all publishers were given, in the order of time."""
    return []


@pytest.fixture
async def grounds(told: list[Sample]) -> AsyncIterator[list[Listening]]:
    """Of as many agents as a test asks for."""
    made = [Listening(told=told) for _ in range(3)]
    yield made
    for ground in made:
        for agent in ground.agents:
            await agent.stop()


def sharded(place: Place, count: int = 4, **options: object) -> ListenerSpec:
    shards = Shards(count=count, name=place.name, **{"rebalance": 3600.0, **options})
    return place.spec(shards=shards, batch_size=7, prefetch=30)


def in_order(samples: Iterable[Sample]) -> dict[str, list[int]]:
    """The numbers of each resource, as they first came. Raises AssertionError: not in order."""
    found: dict[str, list[int]] = {}
    for each in samples:
        numbers = found.setdefault(each.resource, [])
        if int(each.volume) not in numbers:
            numbers.append(int(each.volume))
    for resource, numbers in found.items():
        assert numbers == sorted(numbers), f"{resource}: {numbers}"
    return found


def whole(found: dict[str, list[int]]) -> list[int]:
    return sorted(number for numbers in found.values() for number in numbers)


def test_a_resource_has_the_same_shard_in_every_process() -> None:
    """`hash()` of text would be another one in each: so did Ceilometer's agents disagree."""
    code = (
        "from hitless.agent.notifications.shards import Layout\n"
        "print([Layout('x', 7, 'direct').routing_key(f'resource-{at}') for at in range(50)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    here = [Layout("x", 7, "direct").routing_key(f"resource-{at}") for at in range(50)]
    assert told == {f"{here}\n"}
    assert set(here) == {str(each) for each in range(7)}


async def came(told: list[Sample], count: int) -> None:
    await until(lambda: len({int(each.volume) for each in [*told]}) >= count, "some did not come")


@pytest.mark.parametrize("exchange", ["direct", "x-consistent-hash"])
async def test_two_agents_keep_the_order_of_each_resource_when_one_stops(
    place: Place, grounds: list[Listening], told: list[Sample], exchange: str
) -> None:
    running = listens(sharded(place, exchange=exchange))
    first, second = [await each.started(running) for each in grounds[:2]]
    place.send_numbers(*range(300), resources=RESOURCES)
    await came(told, 50)
    await first.stop()
    place.send_numbers(*range(300, 400), resources=RESOURCES)
    await came(told, 400)
    assert whole(in_order(told)) == list(range(400))
    await until(lambda: status(second)["unacked"] == 0, "they were not acknowledged")


async def test_an_agent_that_stands_by_takes_over(
    place: Place, grounds: list[Listening], told: list[Sample]
) -> None:
    agents = [await each.started(listens(sharded(place))) for each in grounds]
    place.send_numbers(*range(50), resources=RESOURCES)
    await came(told, 50)
    assert [status(each)["received"] for each in agents] == [50, 0, 0]
    for number, agent in enumerate(agents[:2], start=1):
        await agent.stop()
        place.send_numbers(*range(50 * number, 50 * number + 50), resources=RESOURCES)
        await came(told, 50 * number + 50)
    assert whole(in_order(told)) == list(range(150))


async def test_agents_share_the_shards(place: Place, grounds: list[Listening], told: list[Sample]) -> None:
    """Who was there first was given all of them, and leaves what is more than its share."""
    running = listens(sharded(place, count=8, rebalance=0.2))
    agents = [await each.started(running) for each in grounds[:2]]
    sent = 0
    while not all(status(each)["received"] for each in agents):
        place.send_numbers(*range(sent, sent + 100), resources=RESOURCES)
        sent += 100
        await came(told, sent)
        assert sent < 20_000, "one of them has taken everything"
    assert whole(in_order(told)) == list(range(sent))


@pytest.mark.parametrize(("before", "after"), [(4, 7), (7, 4)])
async def test_another_number_of_shards_loses_and_reorders_nothing(
    place: Place, grounds: list[Listening], told: list[Sample], before: int, after: int
) -> None:
    """While the old queues are full, and the agents change one after the other."""
    agents: list[Agent] = [await each.started(listens(sharded(place, before))) for each in grounds[:2]]
    kept = grounds[0].kept_now()
    kept.gate.clear()
    place.send_numbers(*range(200), resources=RESOURCES)
    await until(lambda: status(agents[0])["unacked"] > 0, "nothing was taken")
    change = asyncio.create_task(agents[0].reload(listens(sharded(place, after))))
    place.send_numbers(*range(200, 300), resources=RESOURCES)
    kept.gate.set()
    assert (await change).status == "applied"
    place.send_numbers(*range(300, 400), resources=RESOURCES)
    assert (await agents[1].reload(listens(sharded(place, after)))).status == "applied"
    place.send_numbers(*range(400, 500), resources=RESOURCES)
    await came(told, 500)
    assert whole(in_order(told)) == list(range(500))
    await asyncio.gather(*(agent.stop() for agent in agents))
    assert all(empty(place, queue) for queue in Layout(place.name, before, "direct").queues)


def empty(place: Place, queue: str) -> bool:
    """Or gone: who drains deletes what nobody takes from."""
    try:
        return place.count(queue) == 0
    except NotFound:
        return True


async def test_what_is_no_notification_is_put_aside_by_who_distributes(
    place: Place, grounds: list[Listening]
) -> None:
    await grounds[0].started(listens(sharded(place)))
    place.send("no json")
    place.send_numbers(1)
    await grounds[0].kept_now().has(1)
    await until(lambda: place.count(place.dead) == 1, "it was not put aside")
    assert dict(place.take(place.dead).headers)["x-hitless-reason"] == "unparsable"


async def test_headers_of_ours_from_outside_and_odd_records_harm_nothing(
    place: Place, grounds: list[Listening], told: list[Sample]
) -> None:
    """A message that looked like a marker would be thrown away."""
    await grounds[0].started(listens(sharded(place)))
    with place.channel() as channel:
        for body, headers, exchange, key in (
            ("no record", {}, "", f"{place.name}.layout"),
            (json.dumps(message(1)), {"x-hitless-drain": "x"}, place.name, place.queue),
        ):
            made = channel.prepare_message(body.encode(), headers=headers)
            channel.basic_publish(made, exchange=exchange, routing_key=key)
    await came(told, 1)
    place.send_numbers(2)
    await came(told, 2)
    await until(lambda: place.count(f"{place.name}.layout") == 0, "the record was not taken")
