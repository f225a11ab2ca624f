"""A broker that closes connections, restarts, or is gone for a while: listeners come back, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest
from tests.agent.notifications.crowd import Sender
from tests.agent.notifications.ground import Listening, Place, listens, status, until
from tests.servers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("shards", [pytest.param(False, id="plain", marks=pytest.mark.soak), True])
async def test_closed_connections_and_a_restart_lose_nothing(rabbitmq: RabbitMQ, shards: bool) -> None:
    place, ground = Place.on(rabbitmq.url("")), Listening()
    more = {"shards": {"count": 4, "name": place.name}} if shards else {}
    agent = await ground.started(listens(place.spec(durable=True, batch_size=20, **more)))
    try:
        kept = ground.kept_now()
        kept.gate.clear()  # so that much is in hand when it happens
        sender = Sender(place, 500, resources=10, rate=1e6)
        sender.start()
        await asyncio.to_thread(sender.join)
        assert sender.failure is None
        await until(lambda: status(agent)["unacked"] > 0, "nothing was taken")
        await asyncio.to_thread(rabbitmq.control, "close_all_connections", "for a test")
        await until(lambda: status(agent)["reconnects"] >= 1, "it did not notice")
        kept.gate.set()
        await kept.has(100)
        await asyncio.to_thread(rabbitmq.control, "stop_app")
        await until(lambda: "cannot connect" in (status(agent)["trouble"] or ""), "it did not notice")
        await asyncio.to_thread(rabbitmq.control, "start_app")
        await until(
            lambda: {int(each.volume) for each in [*kept.samples]} == set(range(500)), "some are lost"
        )
        await until(lambda: status(agent)["unacked"] == 0, "they were not acknowledged")
    finally:
        await agent.stop()
    assert place.count(place.queue) == 0
    firsts = list(dict.fromkeys((each.resource, each.volume) for each in kept.samples))
    for resource in {each for each, _ in firsts}:
        numbers = [number for name, number in firsts if name == resource]
        assert numbers == sorted(numbers)
