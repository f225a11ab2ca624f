"""Batches over a real RabbitMQ: in the format of Ceilometer's polling agents, confirmed, and again after the line was cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from tests.agent.test_otlp import SAMPLES, publisher
from tests.servers.ports import free_port
from tests.servers.rabbitmq import RabbitMQ

from hitless.agent.event import Event
from hitless.agent.publishers.failures import Unreachable

pytestmark = pytest.mark.timeout(400)

PATIENCE_S = 60


def received(broker: RabbitMQ, queue: str) -> list[Any]:
    """What is in the queue: the broker has confirmed it, so it is there."""
    found = []
    with Connection(broker.url(), connect_timeout=PATIENCE_S) as connection:
        while (message := connection.default_channel.basic_get(queue, no_ack=True)) is not None:
            found.append(json.loads(json.loads(message.body)["oslo.message"]))
    return found


def test_samples_are_a_notification_as_ceilometers_agents_send_it(rabbitmq: RabbitMQ) -> None:
    made = publisher(f"{rabbitmq.url()}?topic=polled&timeout={PATIENCE_S}s")
    made.publish(SAMPLES[:3])
    made.publish_events([Event("id-1", "vm.create", 0.0, {"host": "a"})])
    made.close()
    first, second = received(rabbitmq, "polled.sample")
    assert first["event_type"] == "telemetry.polling"
    assert first["priority"] == "SAMPLE"
    samples = first["payload"]["samples"]
    assert [each["counter_volume"] for each in samples] == [1.5, -0.25, 12345.0]
    assert samples[2]["resource_metadata"] == {"interface": "eth0", "mtu": 1500}
    # What Ceilometer's endpoint reads of each sample.
    wanted = {"counter_name", "counter_type", "counter_unit", "counter_volume", "user_id", "project_id"}
    wanted |= {"resource_id", "timestamp", "resource_metadata", "source", "message_id"}
    assert all(wanted <= set(each) for each in samples)
    assert len({each["message_id"] for each in samples}) == 3
    assert (second["event_type"], second["payload"][0]["message_id"]) == ("event", "id-1")


def test_what_the_broker_refuses_is_not_taken_and_is_taken_again_when_there_is_room(
    rabbitmq: RabbitMQ,
) -> None:
    exchange = Exchange("ceilometer", type="topic", durable=False, auto_delete=False)
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    with Connection(rabbitmq.url(), connect_timeout=PATIENCE_S) as connection:
        full = Queue("full.sample", exchange, "full.sample", durable=False, queue_arguments=limits)
        full(connection.default_channel).declare()
    made = publisher(f"{rabbitmq.url()}?topic=full&timeout={PATIENCE_S}s")
    # The queue is there with other arguments: the publisher must not insist on its own.
    made.publish(SAMPLES[:1])
    with pytest.raises(Unreachable, match=r"Nack|nack"):
        made.publish(SAMPLES[1:2])
    assert len(received(rabbitmq, "full.sample")) == 1
    made.publish(SAMPLES[1:2])
    made.close()
    (left,) = received(rabbitmq, "full.sample")
    assert left["payload"]["samples"][0]["resource_id"] == "host-b"


def test_a_connection_that_was_cut_is_made_again(rabbitmq: RabbitMQ) -> None:
    made = publisher(f"{rabbitmq.url()}?topic=cut&timeout={PATIENCE_S}s")
    made.publish(SAMPLES[:1])
    made._connection.connection.sock.close()
    with pytest.raises(Unreachable):
        made.publish(SAMPLES[1:2])
    made.publish(SAMPLES[1:2])
    made.close()
    assert len(received(rabbitmq, "cut.sample")) == 2


def test_a_queue_that_somebody_has_deleted_is_noticed_and_made_again(rabbitmq: RabbitMQ) -> None:
    made = publisher(f"{rabbitmq.url()}?topic=gone&timeout={PATIENCE_S}s")
    made.publish(SAMPLES[:1])
    with Connection(rabbitmq.url(), connect_timeout=PATIENCE_S) as connection:
        connection.default_channel.queue_delete("gone.sample")
    with pytest.raises(Unreachable, match="NO_ROUTE"):
        made.publish(SAMPLES[1:2])
    made.publish(SAMPLES[1:2])
    made.close()
    assert len(received(rabbitmq, "gone.sample")) == 1


def test_a_broker_that_is_not_there_is_unreachable_and_its_password_is_not_told() -> None:
    made = publisher(f"amqp://me:hush@127.0.0.1:{free_port()}//")
    with pytest.raises(Unreachable, match="refused") as caught:
        made.publish(SAMPLES)
    assert "hush" not in str(caught.value)
    made.close()
