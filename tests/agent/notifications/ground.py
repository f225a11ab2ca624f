"""Senders as OpenStack's services have them, and an agent in this process whose publishers note what they are given."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kombu import Connection
from tests.agent.ground import Ground, Kept

from hitless.agent.agent import Agent
from hitless.agent.definition import Definition, Retry, Route, Sink
from hitless.agent.notifications.broker import _parameters
from hitless.agent.notifications.converter import Conversion
from hitless.agent.notifications.definitions import MeterDefinition
from hitless.agent.notifications.settings import Notifications
from hitless.agent.notifications.spec import ListenerSpec
from hitless.agent.plugins import PUBLISHER, Plugins
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.running import Running
from hitless.agent.sample import Sample

DEADLINE_S = 60.0
SIZE = MeterDefinition(
    name="volume.size",
    event_type=("volume\\..*",),
    type="gauge",
    unit="GB",
    volume="$.payload.size",
    resource_id="$.payload.volume_id",
)


def message(number: int, resource: str = "v1", **more: Any) -> dict[str, Any]:
    return {
        "message_id": str(uuid.uuid4()),
        "publisher_id": "volume.host1",
        "event_type": "volume.resize.end",
        "priority": "INFO",
        "timestamp": "2026-11-27 10:00:00.000123",
        "payload": {"volume_id": resource, "size": number},
        "_context_user_id": "u",
        **more,
    }


def envelope(content: dict[str, Any]) -> dict[str, Any]:
    return {"oslo.version": "2.0", "oslo.message": json.dumps(content)}


@dataclass(frozen=True)
class Place:
    """Names of queues and exchanges that no other test has, on one broker."""

    url: str
    name: str

    @classmethod
    def on(cls, url: str) -> Place:
        return cls(url, f"t{uuid.uuid4().hex[:10]}")

    def spec(self, **options: Any) -> ListenerSpec:
        usual = {
            "url": self.url,
            "exchanges": (self.name,),
            "topics": (f"{self.name}.n",),
            "dead_letter": f"{self.name}.dead",
            "reconnect_first": 0.05,
            "reconnect_longest": 0.5,
        }
        return ListenerSpec(**{**usual, **options})

    @property
    def queue(self) -> str:
        return f"{self.name}.n.info"

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    @contextmanager
    def channel(self) -> Iterator[Any]:
        with Connection(**_parameters(self.spec(), "test")) as connection:
            yield connection.channel()

    def declare(self) -> None:
        """What oslo.messaging's senders declare, so that what they send before anybody listens is kept."""
        with self.channel() as channel:
            channel.exchange_declare(exchange=self.name, type="topic", durable=False, auto_delete=False)
            channel.queue_declare(queue=self.queue, durable=False, auto_delete=False)
            channel.queue_bind(queue=self.queue, exchange=self.name, routing_key=self.queue)

    def send(self, *bodies: Any) -> None:
        self.declare()
        with self.channel() as channel:
            for body in bodies:
                text = body if isinstance(body, str) else json.dumps(body)
                made = channel.prepare_message(
                    text, content_type="application/json", content_encoding="utf-8"
                )
                channel.basic_publish(made, exchange=self.name, routing_key=self.queue)

    def send_numbers(self, *numbers: int, resources: int = 1) -> None:
        self.send(*(envelope(message(each, f"v{each % resources}")) for each in numbers))

    def count(self, queue: str) -> int:
        with self.channel() as channel:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)

    def take(self, queue: str) -> Any:
        """One message out of the queue; None if there is none."""
        with self.channel() as channel:
            found = channel.basic_get(queue, no_ack=True)
            return None if found is None else found

    async def empties(self, queue: str) -> None:
        await until(lambda: self.count(queue) == 0, f"{queue} is not empty")


class Listening(Ground):
    """An agent that listens at one place, in this process."""

    def __init__(self, *, told: list[Sample] | None = None, **more: Any) -> None:
        """`told`: what the publishers of several agents are given, in the order of time."""
        super().__init__()
        self.told = told
        self.plugins = Plugins({PUBLISHER: {"kept": self._make}, **more})
        self.agents: list[Agent] = []

    def _make(self, url: PublisherUrl) -> Kept:
        made = super()._make(url)
        if self.told is not None:
            made.samples = self.told
        return made

    async def started(self, running: Running) -> Agent:
        agent = self.agent(running)
        await agent.start()
        self.agents.append(agent)
        return agent

    @property
    def sizes(self) -> list[int]:
        return [int(each.volume) for each in self.kept_now().samples]

    def kept_now(self, url: str = "kept://s") -> Kept:
        """The publisher that was made last."""
        return self.kept[url][-1]


def listens(
    *specs: ListenerSpec, url: str = "kept://s", conversion: Conversion | None = None, **sink: Any
) -> Running:
    """Every sample and every event goes to `url`."""
    retry = Retry(attempts=2, first=0.001, longest=0.002)
    made = Sink(publishers=(url,), **{"retry": retry, **sink})
    route = {"all": Route(names=("*",), sinks=("s",))}
    definition = Definition(samples=route, sinks={"s": made}, events=route, event_sinks={"s": made})
    conversion = conversion or Conversion(meters=(SIZE,))
    return Running.of(
        definition, Notifications(listeners={each.key: each for each in specs}, conversion=conversion)
    )


async def until(holds: Callable[[], bool], otherwise: str) -> None:
    """Look until it holds. Brokers tell nobody what is in their queues."""
    deadline = time.monotonic() + DEADLINE_S
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.02)


def status(agent: Agent) -> dict[str, Any]:
    """Of the listener that gives to the pipelines; with shards there is another one."""
    one = agent.listeners()[0]
    assert isinstance(one, dict)
    return dict(one)
