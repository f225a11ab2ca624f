"""A listener on a real broker: what is acknowledged has been published, what is not comes again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.agent.ground import Kept
from tests.agent.notifications.ground import (
    DEADLINE_S,
    SIZE,
    Listening,
    Place,
    envelope,
    listens,
    message,
    status,
    until,
)
from tests.servers.rabbitmq import RabbitMQ

from hitless.agent.notifications import delivery
from hitless.agent.notifications.converter import Conversion
from hitless.agent.notifications.endpoint import Endpoint, endpoint
from hitless.agent.notifications.notification import Notification
from hitless.agent.plugins import LISTENER, PUBLISHER
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample
from hitless.live import StartFailed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["rabbitmq", "folder"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """On RabbitMQ, and in a folder."""
    if request.param == "rabbitmq":
        server: RabbitMQ = request.getfixturevalue("rabbitmq")
        yield Place.on(server.url(""))
    else:
        yield Place.on(f"filesystem://{request.getfixturevalue('tmp_path')}/spool")


@pytest.fixture
def rabbit(rabbitmq: RabbitMQ) -> Place:
    return Place.on(rabbitmq.url(""))


@pytest.fixture
async def ground() -> AsyncIterator[Listening]:
    made = Listening()
    yield made
    for agent in made.agents:
        await agent.stop()


async def test_notifications_become_samples_and_events_and_are_acknowledged(
    place: Place, ground: Listening
) -> None:
    place.send(envelope(message(1)), message(2), envelope(message(3, event_type="image.create")))
    agent = await ground.started(listens(place.spec()))
    kept = ground.kept_now()
    await kept.has(2)
    await until(lambda: len(kept.events) == 3, "three events did not come")
    assert [(each.name, each.volume, each.resource, each.user) for each in kept.samples] == [
        ("volume.size", 1.0, "v1", "u"),
        ("volume.size", 2.0, "v1", "u"),
    ]
    assert [each.type for each in kept.events] == ["volume.resize.end", "volume.resize.end", "image.create"]
    assert kept.events[0].traits == {"service": "volume.host1", "user_id": "u"}
    await until(lambda: status(agent)["acked"] == 3, "they were not acknowledged")
    assert (status(agent)["state"], status(agent)["consumers"]) == ("consuming", 3)
    await agent.stop()
    assert place.count(place.queue) == 0


async def test_what_is_no_notification_is_put_aside_with_the_reason_and_blocks_nothing(
    place: Place, ground: Listening
) -> None:
    odd = {"oslo.version": "2.0", "oslo.message": "{"}
    place.send("no json", odd, message(1, timestamp="yesterday"), envelope(message(7)))
    agent = await ground.started(listens(place.spec()))
    await ground.kept_now().has(1)
    await until(lambda: status(agent)["acked"] == 4, "they were not acknowledged")
    assert ground.sizes == [7]
    assert status(agent)["dead_lettered"] == 3
    dead = [place.take(place.dead) for _ in range(3)]
    assert dead[0].body in ("no json", b"no json")
    details = [dict(each.headers)["x-hitless-detail"] for each in dead]
    assert "is not JSON" in details[0]
    assert "oslo.message is not JSON" in details[1]
    assert "'yesterday' is no time" in details[2]
    assert {dict(each.headers)["x-hitless-reason"] for each in dead} == {"unparsable"}
    assert {dict(each.headers)["x-hitless-queue"] for each in dead} == {place.queue}
    assert place.take(place.dead) is None


class Flaky:
    """Raises for some notifications, for the first times or always; hangs in others."""

    def __init__(self) -> None:
        self.tries: dict[str, int] = {}
        self.let_go = threading.Event()

    def __call__(self, notification: Notification) -> list[Sample]:
        payload: Any = notification.payload
        what = payload["volume_id"]
        self.tries[what] = self.tries.get(what, 0) + 1
        if what == "hangs":
            assert self.let_go.wait(DEADLINE_S)
        if what == "bad" or (what == "twice" and self.tries[what] < 3):
            raise KeyError("what is that?")
        return []


async def test_a_message_that_an_endpoint_does_not_understand_is_tried_again_then_put_aside(
    rabbit: Place,
) -> None:
    flaky = Flaky()
    ground = Listening(**{LISTENER: {"flaky": Endpoint(flaky, ("*",), ("info",))}})
    rabbit.send(*(envelope(message(at, each)) for at, each in enumerate(("twice", "bad", "fine"))))
    agent = await ground.started(listens(rabbit.spec(attempts=3)))
    await ground.kept_now().has(2)
    await until(lambda: status(agent)["acked"] == 3, "they were not acknowledged")
    await agent.stop()
    assert ground.sizes == [0, 2]  # in order, though the first was tried three times
    assert flaky.tries == {"twice": 3, "bad": 3, "fine": 1}
    headers = dict(rabbit.take(rabbit.dead).headers)
    assert headers["x-hitless-reason"] == "endpoint-failed"
    assert headers["x-hitless-attempts"] == 3
    assert "Flaky: KeyError: 'what is that?'" in headers["x-hitless-detail"]


async def test_a_message_in_which_an_endpoint_hangs_is_put_aside(rabbit: Place) -> None:
    flaky = Flaky()
    ground = Listening(**{LISTENER: {"flaky": Endpoint(flaky, ("*",), ("info",))}})
    rabbit.send(*(envelope(message(at, each)) for at, each in enumerate(("fine", "hangs", "other"))))
    agent = await ground.started(listens(rabbit.spec(endpoint_timeout=0.3)))
    try:
        await ground.kept_now().has(2)
        await until(lambda: status(agent)["acked"] == 3, "they were not acknowledged")
        assert ground.sizes == [0, 2]
        assert dict(rabbit.take(rabbit.dead).headers)["x-hitless-reason"] == "endpoint-hangs"
    finally:
        flaky.let_go.set()
        await agent.stop()


async def test_nothing_is_acknowledged_before_the_publishers_took_it(place: Place, ground: Listening) -> None:
    place.declare()
    agent = await ground.started(listens(place.spec(prefetch=10, batch_size=4)))
    kept = ground.kept_now()
    kept.gate.clear()
    place.send_numbers(*range(30))
    await until(lambda: status(agent)["unacked"] == 10, "no more than ten were asked for")
    assert status(agent)["acked"] == 0
    kept.gate.set()
    await kept.has(30)
    await until(lambda: status(agent)["acked"] == 30, "they were not acknowledged")
    assert ground.sizes == list(range(30))


async def test_while_publishers_do_not_take_nothing_is_lost_and_a_change_may_mend_it(
    rabbit: Place, ground: Listening
) -> None:
    rabbit.send_numbers(*range(20))
    agent = await ground.started(listens(rabbit.spec(prefetch=5), url="kept://down"))
    ground.kept_now("kept://down").refusals = 1_000_000
    await until(lambda: status(agent)["not_taken"] >= 1, "nothing was tried")
    assert "were not taken" in status(agent)["trouble"]
    assert status(agent)["acked"] == 0
    outcome = await agent.reload(listens(rabbit.spec(prefetch=5)))
    assert outcome.status == "applied"
    await ground.kept_now().has(20)
    assert ground.sizes == list(range(20))
    await until(lambda: status(agent)["acked"] == 20, "they were not acknowledged")
    assert status(agent)["trouble"] is None


class Picky(Kept):
    """Refuses some sizes for ever."""

    def publish(self, samples: Sequence[Sample]) -> None:
        if any(each.volume in (3.0, 4.0, 13.0) for each in samples):
            raise ValueError("what an odd size")
        super().publish(samples)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
async def test_what_a_publisher_refuses_while_it_takes_others_is_put_aside(
    rabbit: Place, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    monkeypatch.setattr(delivery, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(delivery, "RETRY_LONGEST_S", 0.05)
    made: list[Picky] = []

    def picky(url: PublisherUrl) -> Picky:
        made.append(Picky(url))
        return made[-1]

    ground = Listening(**{PUBLISHER: {"picky": picky}})
    rabbit.send_numbers(*range(20))
    running = listens(rabbit.spec(batch_size=batch_size), url="picky://s")
    agent = await ground.started(running)
    await until(lambda: status(agent)["acked"] == 20, "they were not acknowledged")
    await agent.stop()
    came = list(dict.fromkeys(int(each.volume) for each in made[-1].samples))
    assert came == [each for each in range(20) if each not in (3, 4, 13)]
    dead = [rabbit.take(rabbit.dead) for _ in range(3)]
    assert {dict(each.headers)["x-hitless-reason"] for each in dead} == {"not-taken"}
    assert rabbit.take(rabbit.dead) is None


async def test_a_change_of_pipelines_leaves_listeners_alone(rabbit: Place, ground: Listening) -> None:
    rabbit.send_numbers(1)
    agent = await ground.started(listens(rabbit.spec()))
    await ground.kept_now().has(1)
    with rabbit.channel() as channel:
        before = channel.queue_declare(queue=rabbit.queue, passive=True).consumer_count
    outcome = await agent.reload(listens(rabbit.spec(), url="kept://t"))
    assert outcome.status == "applied"
    rabbit.send_numbers(2)
    await ground.kept_now("kept://t").has(1)
    assert status(agent)["reconnects"] == 0
    assert before == 1
    await until(lambda: status(agent)["acked"] == 2, "it was not acknowledged")
    assert [each.volume for each in ground.one("kept://s").samples] == [1.0]


async def test_a_change_of_a_listener_loses_and_doubles_nothing(place: Place, ground: Listening) -> None:
    agent = await ground.started(listens(place.spec()))
    kept = ground.kept_now()
    for round_ in range(5):
        place.send_numbers(*range(round_ * 40, round_ * 40 + 40))
        outcome = await agent.reload(listens(place.spec(prefetch=20 + round_)))
        assert outcome.status == "applied"
    await kept.has(200)
    await until(lambda: status(agent)["acked"] == 200, "they were not acknowledged")
    await agent.stop()
    assert ground.sizes == list(range(200))
    assert place.count(place.queue) == 0


async def test_a_batch_in_hand_is_finished_by_who_began_it(rabbit: Place, ground: Listening) -> None:
    rabbit.send_numbers(1, 2)
    agent = await ground.started(listens(rabbit.spec(batch_size=1)))
    kept = ground.kept_now()
    kept.gate.clear()
    await until(lambda: status(agent)["received"] == 1, "nothing was taken")
    await agent.reload(listens(rabbit.spec(batch_size=2)))
    kept.gate.set()
    await kept.has(2)
    await until(lambda: status(agent)["acked"] == 2, "they were not acknowledged")
    assert ground.sizes == [1, 2]


async def test_a_broker_that_is_not_there_refuses_the_change(rabbit: Place, ground: Listening) -> None:
    agent = await ground.started(listens(rabbit.spec()))
    nowhere = rabbit.spec(url="amqp://guest:hush-hush@127.0.0.1:9/", connect_timeout=2)
    outcome = await agent.reload(listens(nowhere))
    assert outcome.status == "rejected"
    assert "cannot connect to amqp://guest:***@127.0.0.1:9/" in outcome.message
    assert "hush-hush" not in str(outcome)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert (await agent.reload(listens(nowhere))).status == "rejected"
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    rabbit.send_numbers(5)
    await ground.kept_now().has(1)


async def test_queues_that_are_otherwise_refuse_the_change(rabbit: Place, ground: Listening) -> None:
    rabbit.declare()
    with pytest.raises(StartFailed, match="PRECONDITION_FAILED"):
        await ground.started(listens(rabbit.spec(durable=True)))


async def test_a_listener_that_need_not_connect_goes_on_trying(ground: Listening) -> None:
    spec = Place.on("amqp://guest:guest@127.0.0.1:9/").spec(must_connect=False)
    agent = await ground.started(listens(spec))
    await until(lambda: status(agent)["reconnects"] >= 2, "it tried only once")
    assert "cannot connect" in status(agent)["trouble"]


async def test_a_connection_that_is_cut_is_made_again_and_nothing_is_lost(
    rabbit: Place, ground: Listening
) -> None:
    """The queue is deleted under its consumer: the broker cancels it."""
    agent = await ground.started(listens(rabbit.spec()))
    rabbit.send_numbers(1)
    await ground.kept_now().has(1)
    with rabbit.channel() as channel:
        channel.queue_delete(rabbit.queue)
    await until(lambda: status(agent)["reconnects"] == 1, "it did not notice")
    await until(lambda: status(agent)["state"] == "consuming", "it did not come back")
    rabbit.send_numbers(2)
    await ground.kept_now().has(2)
    assert ground.sizes == [1, 2]


async def test_closing_leaves_nothing_unacknowledged(rabbit: Place, ground: Listening) -> None:
    rabbit.send_numbers(*range(50))
    agent = await ground.started(listens(rabbit.spec(batch_size=5)))
    kept = ground.kept_now()
    kept.gate.clear()
    await until(lambda: status(agent)["unacked"] == 50, "they did not come")
    stopping = asyncio.create_task(agent.stop())
    await asyncio.sleep(0)
    kept.gate.set()
    await stopping
    done = ground.sizes
    assert done == list(range(len(done)))
    assert rabbit.count(rabbit.queue) == 50 - len(done)


async def test_endpoints_of_other_packages_are_chosen_by_name(rabbit: Place) -> None:
    @endpoint(events=["volume.*"])
    def loud(notification: Notification) -> list[Sample]:
        return [Sample("loud", 1.0, "x", notification.event_type, notification.at)]

    ground = Listening(**{LISTENER: {"loud": loud}})
    agent = await ground.started(listens(rabbit.spec(), conversion=Conversion(endpoints=("loud",))))
    rabbit.send(message(1), message(2, event_type="image.create"))
    await ground.kept_now().has(1)
    await agent.reload(listens(rabbit.spec(), conversion=Conversion(meters=(SIZE,), endpoints=("!loud",))))
    rabbit.send(message(3))
    await ground.kept_now().has(2)
    await agent.stop()
    assert [each.name for each in ground.kept_now().samples] == ["loud", "volume.size"]


async def test_samples_of_ceilometers_polling_agents_are_taken(rabbit: Place, ground: Listening) -> None:
    polled = {
        "counter_name": "cpu",
        "counter_type": "cumulative",
        "counter_unit": "ns",
        "counter_volume": 5,
        "resource_id": "i1",
        "timestamp": "2026-11-27T10:00:00",
        "project_id": "p",
        "user_id": None,
        "source": "openstack",
        "resource_metadata": {"host": "h"},
    }
    await ground.started(listens(rabbit.spec()))
    rabbit.send(message(1, event_type="telemetry.polling", payload={"samples": [polled]}))
    await ground.kept_now().has(1)
    (found,) = ground.kept_now().samples
    assert (found.name, found.volume, found.kind, found.project) == ("cpu", 5.0, "cumulative", "p")
    assert json.dumps(found.to_json()["timestamp"]) == '"2026-11-27T10:00:00+00:00"'


async def test_samples_that_nobody_can_write_are_put_aside_and_block_nothing(
    place: Place, ground: Listening
) -> None:
    good = {
        "counter_name": "cpu",
        "counter_type": "gauge",
        "counter_unit": "ns",
        "counter_volume": 5,
        "resource_id": "i1",
        "timestamp": "2026-11-27T10:00:00",
    }
    odd: list[dict[str, Any]] = [
        {"counter_name": {}},
        {"counter_name": None},
        {"counter_unit": ["ns"]},
        {"resource_metadata": "text"},
        {"user_id": {"a": 1}},
        {"source": 5},
    ]
    place.send(
        *(message(1, event_type="telemetry.polling", payload={"samples": [good | each]}) for each in odd),
        message(1, event_type="telemetry.polling", payload={"samples": [good]}),
        message(1, event_type="telemetry.polling", payload={"samples": 5}),
        envelope(message(7)),
    )
    agent = await ground.started(listens(place.spec(attempts=1)))
    await until(lambda: status(agent)["acked"] == len(odd) + 3, "they were not acknowledged")
    assert ground.sizes == [5, 7]
    assert status(agent)["dead_lettered"] == len(odd) + 1
