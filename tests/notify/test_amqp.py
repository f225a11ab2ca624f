"""Notices over a real RabbitMQ, as what listens to OpenStack services reads them."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from pydantic import SecretStr
from tests.config.oslo.conftest import installed
from tests.notify.notices import PATIENCE_S, notice
from tests.servers.rabbitmq import RabbitMQ

from hitless.notify import AmqpSink, Phase, SinkFailed

pytestmark = pytest.mark.timeout(400)


def received(broker: RabbitMQ, queue: str) -> Any:
    """What is in the queue: the broker has confirmed it, so it is there."""
    with Connection(broker.url(), connect_timeout=PATIENCE_S) as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
        assert message is not None
        return json.loads(message.body)


def test_starts_and_errors_are_notifications_of_oslo_messaging(rabbitmq: RabbitMQ) -> None:
    sink = AmqpSink(url=SecretStr(rabbitmq.url()), topic="reloads", timeout_s=PATIENCE_S)
    sink.send(start := notice())
    sink.send(notice(phase=Phase.ERROR, status="rejected", reason="unhealthy", message="no route"))
    envelope = received(rabbitmq, "reloads.info")
    assert envelope["oslo.version"] == "2.0"
    message = json.loads(envelope["oslo.message"])
    assert {key: value for key, value in message.items() if key not in ("payload", "_unique_id")} == {
        "message_id": start.id,
        "publisher_id": "volumes.here",
        "event_type": "service.reload.start",
        "priority": "INFO",
        "timestamp": "2026-11-21 04:03:36.250000",
    }
    assert message["payload"]["differences"] == [{"key": "level", "old": "info", "new": "debug"}]
    error = json.loads(received(rabbitmq, "reloads.error")["oslo.message"])
    assert (error["event_type"], error["priority"]) == ("service.reload.error", "ERROR")
    assert error["payload"]["reason"] == "unhealthy"


def test_a_broker_that_refuses_or_is_gone_is_told_without_the_password(rabbitmq: RabbitMQ) -> None:
    wrong = AmqpSink(url=rabbitmq.url().replace("guest:guest", "guest:hush-hush"), timeout_s=PATIENCE_S)
    with pytest.raises(SinkFailed, match=r"ACCESS_REFUSED|Login was refused") as caught:
        wrong.send(notice())
    assert "hush" not in str(caught.value) + repr(wrong) + wrong.name
    with pytest.raises(SinkFailed, match="refused"):
        AmqpSink(url="amqp://guest:guest@127.0.0.1:1//").send(notice())


def test_an_exchange_that_is_of_another_kind_is_told(rabbitmq: RabbitMQ) -> None:
    AmqpSink(url=rabbitmq.url(), exchange="cinder", timeout_s=PATIENCE_S).send(notice())
    durable = AmqpSink(url=rabbitmq.url(), exchange="cinder", durable=True, timeout_s=PATIENCE_S)
    with pytest.raises(SinkFailed, match="inequivalent arg 'durable'"):
        durable.send(notice())


def test_a_broker_that_does_not_answer_is_given_up_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//"
        with pytest.raises(SinkFailed, match=r"timed out|Timeout"):
            AmqpSink(url=url, timeout_s=0.5).send(notice())


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_listener_of_oslo_messaging_takes_them(rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    AmqpSink(url=rabbitmq.url(), timeout_s=PATIENCE_S).send(notice())
    AmqpSink(url=rabbitmq.url(), timeout_s=PATIENCE_S).send(notice(phase=Phase.ERROR, status="rejected"))
    python = installed(tmp_path / "venv", "oslo.messaging")
    program = Path(__file__).parent / "oslo_listener.py"
    url = rabbitmq.url().replace("amqp:", "rabbit:")
    done = subprocess.run([python, program, url], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    differences = [{"key": "level", "old": "info", "new": "debug"}]
    assert json.loads(done.stdout) == [
        ["error", "volumes.here", "service.reload.error", differences],
        ["info", "volumes.here", "service.reload.start", differences],
    ]
