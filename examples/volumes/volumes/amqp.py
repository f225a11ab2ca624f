"""Requests from a queue of RabbitMQ, answered to the queue that each names (reply_to).

A message is acknowledged when its request has ended. If the service dies first, the next one gets the message again, and knows
by the request's id whether it was accepted before.
"""

from __future__ import annotations

import asyncio
import json
import logging
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from kombu import Connection, Consumer, Message, Producer, Queue

from volumes.doors import AT_ONCE, Door
from volumes.manager import Answer, Manager

CONNECT_S = 10.0
HEARTBEAT_S = 10.0
AGAIN_S = 1.0
"""Between two attempts to connect, when the connection has been lost."""
CLOSE_S = 50.0

log = logging.getLogger("volumes")


class AmqpDoor(Door):
    """All that is said to RabbitMQ is said by one thread: a connection is not to be shared between threads. The loop leaves it
    what is to be sent, and wakes it.
    """

    def __init__(self, url: str, manager: Manager) -> None:
        self._url, _, queue = url.partition("?queue=")
        self._queue = Queue(queue or "volumes", durable=True)
        self._manager = manager
        self._loop = asyncio.get_running_loop()
        self._connection: Connection = self._new()
        self._outgoing: deque[Callable[[Producer], None]] = deque()
        self._requests: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        """Messages of this connection that are not settled."""
        self._is_closing = False
        self._woken, self._wake_up = socket.socketpair()
        self._wake_up.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)

    @classmethod
    async def connected(cls, url: str, manager: Manager) -> AmqpDoor:
        """Raises OSError: RabbitMQ cannot be reached, or will not have us."""
        door = cls(url, manager)
        try:
            await asyncio.to_thread(door._connect)
        except door._connection.connection_errors as error:
            raise ConnectionError(f"RabbitMQ cannot be reached: {error}") from error
        return door

    async def open(self) -> None:
        if not self._thread.is_alive():
            self._thread.start()

    async def close(self) -> None:
        self._is_closing = True
        if self._thread.is_alive():
            self._wake()
            await asyncio.to_thread(self._thread.join, CLOSE_S)
        await asyncio.to_thread(self._connection.close)
        self._woken.close()
        self._wake_up.close()

    # in the thread

    def _new(self) -> Connection:
        return Connection(self._url, heartbeat=HEARTBEAT_S, connect_timeout=CONNECT_S)

    def _connect(self) -> None:
        self._connection.connect()
        self._queue(self._connection.default_channel).declare()

    def _run(self) -> None:
        while not self._is_done():
            lost = self._connection.connection_errors + self._connection.channel_errors
            try:
                self._connect()
                self._serve()
            except lost as error:
                log.warning("the connection to RabbitMQ is lost: %s", error)
                self._in_flight = 0  # RabbitMQ gives everything that was not acknowledged again
                self._connection.collect()
                self._connection = self._new()
                self._wait(AGAIN_S)

    def _serve(self) -> None:
        channel = self._connection.default_channel
        consumer = Consumer(channel, [self._queue], on_message=self._came, prefetch_count=AT_ONCE)
        producer = Producer(channel)
        consumer.consume()
        while not self._is_done():
            if self._is_closing:
                consumer.cancel()
            while self._outgoing:
                self._outgoing.popleft()(producer)
            if self._wait(HEARTBEAT_S / 4, self._connection.connection.sock):
                with suppress(TimeoutError):
                    self._connection.drain_events(timeout=CONNECT_S)
            self._connection.heartbeat_check()

    def _is_done(self) -> bool:
        return self._is_closing and not (self._in_flight or self._requests or self._outgoing)

    def _wait(self, seconds: float, *sockets: socket.socket) -> bool:
        """Until one of the sockets can be read, or there is something to do; whether it is the former."""
        ready, _, _ = select.select([self._woken, *sockets], [], [], seconds)
        if self._woken in ready:
            self._woken.recv(4096)
        return any(each in ready for each in sockets)

    def _settle(self, producer: Producer, message: Message, *, is_ours: bool) -> None:
        if message.channel is producer.channel:
            self._in_flight -= 1
            if is_ours:
                message.ack()

    def _came(self, message: Message) -> None:
        self._in_flight += 1
        self._loop.call_soon_threadsafe(self._begin, message)

    # in the loop

    def _begin(self, message: Message) -> None:
        task = self._loop.create_task(self._handle(message))
        self._requests.add(task)
        task.add_done_callback(self._ended)

    async def _handle(self, message: Message) -> None:
        is_ours = True

        async def tell(answer: Answer) -> None:
            nonlocal is_ours
            if answer.get("reason") == "NotRunning":
                is_ours = False  # this service stops; the next one has it as soon as our connection is closed
            else:
                self._send(lambda producer: _reply(producer, message, answer))

        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        await self._manager.handle(body, tell)
        self._send(lambda producer: self._settle(producer, message, is_ours=is_ours))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        self._wake()

    def _send(self, what: Callable[[Producer], None]) -> None:
        self._outgoing.append(what)
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is awake already
            self._wake_up.send(b"w")


def _reply(producer: Producer, message: Message, answer: Answer) -> None:
    if reply_to := message.properties.get("reply_to"):
        producer.publish(
            json.dumps(answer).encode(),
            exchange="",
            routing_key=reply_to,
            correlation_id=message.properties.get("correlation_id"),
            content_type="application/json",
            content_encoding="utf-8",
        )
