"""Draining: connections move to another worker, or go down the ladder; none is lost."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from hitless.serve.http.states import State
from serve.http.apps import Gate, echo, hello, w_hello
from serve.http.wire import GET, Client, Service, Taker, get, post


@pytest.fixture
async def other(serve: Any) -> Service:
    """The worker that takes over; it answers with WSGI, so that tests see who answered."""
    service: Service = await serve(_taken_over)
    return service


async def _taken_over(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"other"})


async def test_an_idle_connection_goes_on_in_the_other_worker(serve: Any, other: Service) -> None:
    service = await serve(hello)
    client = await service.connect()
    assert (await client.ask()).body == b"hello"
    service.engine.drain(Taker(other))
    await asyncio.wait_for(service.empty.wait(), 5)
    reply = await client.ask()
    assert (reply.body, reply["connection"]) == (b"other", None)
    assert other.only.served == 2
    assert service.engine.counters.handed_over == other.engine.counters.connections_adopted == 1
    assert service.engine.counters.taken_back == service.engine.counters.cut == 0


async def test_a_connection_without_a_request_yet_moves_too(serve: Any, other: Service) -> None:
    service = await serve(hello)
    client = await service.connect()
    await service.until(lambda: service.engine.connections and service.only.state is State.IDLE)
    service.engine.drain(Taker(other))
    assert (await client.ask()).body == b"other"


async def test_a_connection_that_is_accepted_after_the_drain_began_moves_too(
    serve: Any, other: Service
) -> None:
    service = await serve(hello)
    service.engine.drain(Taker(other))
    client = await service.connect()
    await service.until(lambda: service.engine.counters.handed_over == 1)
    assert (await client.ask()).body == b"other"


async def test_bytes_that_arrive_while_it_is_offered_are_read_by_the_taker_only(
    serve: Any, other: Service
) -> None:
    service = await serve(hello)
    client = await service.connect()
    await client.ask()
    offered: list[Any] = []
    service.engine.drain(offered.append)
    (connection,) = offered
    await client.send(GET)
    await asyncio.sleep(0.05)  # not synchronisation: time in which nothing must happen
    assert connection.state is State.OFFERED
    assert service.engine.counters.requests == 1
    assert connection.deadline == float("inf")
    Taker(other)(connection)
    assert (await client.reply()).body == b"other"


async def test_a_connection_in_flight_moves_after_its_response_and_is_not_told_to_close(
    serve: Any, other: Service
) -> None:
    gate = Gate()
    service = await serve(gate)
    client = await service.connect()
    await client.send(GET)
    await gate.asked.wait()
    taker = Taker(other)
    service.engine.drain(taker)
    assert taker.offered == []
    gate.open.set()
    reply = await client.reply()
    assert (reply.body, reply["connection"]) == (b"hello", None)
    assert (await client.ask()).body == b"other"
    assert service.engine.counters.handed_over == 1


@pytest.mark.parametrize("part", [b"G", b"\r\n", b"GET / HTTP/1.1\r\nHo", GET[:-1]])
async def test_a_half_read_head_stays_until_it_is_answered(serve: Any, other: Service, part: bytes) -> None:
    service = await serve(hello)
    client = await service.connect()
    await client.ask()
    await client.send(part)
    await service.until(lambda: service.only.state is State.HEAD)
    taker = Taker(other)
    service.engine.drain(taker)
    assert taker.offered == []
    whole = part + GET if part == b"\r\n" else GET
    await client.send(whole[len(part) :])
    reply = await client.reply()
    assert (reply.body, reply["connection"]) == (b"hello", None)
    assert (await client.ask()).body == b"other"


async def test_a_half_read_body_stays_until_it_is_answered(serve: Any, other: Service) -> None:
    service = await serve(echo)
    client = await service.connect()
    request = post(b"0123456789")
    await client.send(request[:-5])
    await service.until(lambda: service.engine.connections and service.only.state is State.RECEIVING)
    taker = Taker(other)
    service.engine.drain(taker)
    assert taker.offered == []
    await client.send(request[-5:])
    assert (await client.reply()).body == b"0123456789"
    assert (await client.ask()).body == b"other"


async def test_pipelined_requests_are_answered_here_before_the_connection_moves(
    serve: Any, other: Service
) -> None:
    gate = Gate()
    service = await serve(gate)
    client = await service.connect()
    await client.send(GET + GET + GET[:10])
    await gate.asked.wait()
    taker = Taker(other)
    service.engine.drain(taker)
    gate.open.set()
    assert (await client.reply()).body == (await client.reply()).body == b"hello"
    assert taker.offered == []
    await client.send(GET[10:])
    assert (await client.reply()).body == b"hello"
    assert (await client.ask()).body == b"other"
    assert gate.calls == 3


async def test_a_response_that_is_not_sent_yet_keeps_its_connection_here(serve: Any, other: Service) -> None:
    size = 8_000_000

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * size})

    service = await serve(large)
    client = await service.connect(buffer=4096)
    await client.send(GET)
    await service.until(lambda: service.engine.counters.responses[2] == 1)
    taker = Taker(other)
    service.engine.drain(taker)
    connection = service.only
    assert connection.stays_because() == "part of a response is not sent yet"
    assert taker.offered == []
    assert len((await client.reply()).body) == size
    assert (await client.ask()).body == b"other"
    assert taker.offered == [connection]


async def test_a_refused_connection_gets_one_more_answer_with_close(serve: Any, other: Service) -> None:
    service = await serve(hello, linger=5.0)
    client = await service.connect()
    await client.ask()
    taker = Taker(other, refuses=True)
    service.engine.drain(taker)
    await service.until(lambda: service.engine.counters.taken_back == 1)
    reply = await client.ask()
    assert (reply.body, reply["connection"]) == (b"hello", "close")
    assert await client.closed()
    assert len(taker.offered) == 1


async def test_bytes_that_came_while_it_was_offered_are_answered_after_a_refusal(serve: Any) -> None:
    service = await serve(hello)
    client = await service.connect()
    await client.ask()
    offered: list[Any] = []
    service.engine.drain(offered.append)
    await client.send(GET)
    offered[0].keep()
    reply = await client.reply()
    assert (reply.body, reply["connection"]) == (b"hello", "close")


async def test_an_idle_connection_that_stays_is_closed_after_the_linger(serve: Any) -> None:
    service = await serve(hello, linger=0.05)
    client = await service.connect()
    await client.ask()
    service.engine.drain(None)
    assert await client.closed()
    assert service.engine.counters.lingered == 1
    assert service.engine.counters.cut == 0
    await asyncio.wait_for(service.empty.wait(), 5)


async def test_a_response_in_flight_says_close_where_nobody_takes_over(serve: Any) -> None:
    gate = Gate()
    service = await serve(gate)
    client = await service.connect()
    await client.send(GET)
    await gate.asked.wait()
    service.engine.drain(None)
    gate.open.set()
    assert (await client.reply())["connection"] == "close"
    assert await client.closed()


async def test_what_is_left_at_the_deadline_is_cut_and_named(serve: Any) -> None:
    gate = Gate()
    service = await serve(gate)
    client = await service.connect()
    await client.send(get("/slow?x=1"))
    await gate.asked.wait()
    service.engine.drain(None)
    (line,) = service.engine.cut()
    assert "GET /slow age" in line
    assert "127.0.0.1:" in line
    await asyncio.wait_for(service.empty.wait(), 5)
    assert service.engine.counters.cut == 1
    assert service.engine.in_flight == 0


async def test_the_peer_s_facts_travel(serve: Any, other: Service) -> None:
    service = await serve(hello)
    client = await service.connect()
    await client.ask()
    before = service.only.release()[1]
    service.engine.drain(Taker(other))
    await other.until(lambda: other.engine.connections)
    after = other.only.release()[1]
    assert after == before
    assert after.peer == client.sock.getsockname()


async def test_an_adopted_connection_is_closed_when_it_stays_idle(serve: Any) -> None:
    service, other = await serve(hello), await serve(hello, keep_alive=0.05)
    client = await service.connect()
    await client.ask()
    service.engine.drain(Taker(other))
    assert await client.closed()
    assert other.engine.counters.connections_adopted == 1


async def test_a_whole_crowd_moves_without_a_failure(serve: Any, other: Service) -> None:
    service = await serve(hello)
    clients = [await service.connect() for _ in range(40)]
    stop = asyncio.Event()

    async def use(client: Client) -> int:
        answered = 0
        while not stop.is_set() or answered < 3:
            assert (await client.ask()).body in (b"hello", b"other")
            answered += 1
        return answered

    users = [asyncio.create_task(use(client)) for client in clients]
    await service.until(lambda: service.engine.counters.requests > 200)
    service.engine.drain(Taker(other))
    await asyncio.wait_for(service.empty.wait(), 10)
    stop.set()
    answered = sum(await asyncio.gather(*users))
    total = service.engine.counters.requests + other.engine.counters.requests
    assert answered == total
    assert service.engine.counters.handed_over == 40


async def test_a_wsgi_connection_moves_as_well(serve: Any, other: Service) -> None:
    service = await serve(w_hello, interface="wsgi")
    client = await service.connect()
    await client.ask()
    service.engine.drain(Taker(other))
    assert (await client.ask()).body == b"other"


async def test_an_engine_without_connections_is_empty_at_once(serve: Any) -> None:
    service = await serve(hello)
    service.engine.drain(None)
    await asyncio.wait_for(service.empty.wait(), 5)


async def test_an_engine_is_not_empty_while_an_application_still_works(serve: Any) -> None:
    done = asyncio.Event()

    async def background(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await done.wait()

    service = await serve(background)
    client = await service.connect()
    await client.ask(get("/", "Connection: close"))
    service.engine.drain(None)
    await service.until(lambda: not service.engine.connections)
    assert not service.empty.is_set()
    done.set()
    await asyncio.wait_for(service.empty.wait(), 5)


async def test_an_offer_that_is_answered_after_the_cut_changes_nothing(serve: Any) -> None:
    service = await serve(hello)
    client = await service.connect()
    await client.ask()
    offered: list[Any] = []
    service.engine.drain(offered.append)
    service.engine.cut()
    await asyncio.wait_for(service.empty.wait(), 5)
    offered[0].forget()
    offered[0].keep()
    assert service.engine.counters.handed_over == service.engine.counters.taken_back == 0


async def test_a_cut_while_it_is_offered_does_not_reach_the_client_of_the_taker(
    serve: Any, other: Service
) -> None:
    service = await serve(hello)
    client = await service.connect()
    await client.ask()
    copies: list[Any] = []

    def give(connection: Any) -> None:
        descriptor, facts = connection.release()
        copies.append((os.dup(descriptor), facts))

    service.engine.drain(give)
    service.engine.cut()
    await asyncio.wait_for(service.empty.wait(), 5)
    ((copy, facts),) = copies
    sock = socket.socket(fileno=copy)
    sock.setblocking(False)
    other.engine.adopt(sock, other.listener, facts)
    assert (await client.ask()).body == b"other"


async def test_a_client_that_leaves_while_it_is_offered_is_noticed_by_the_taker(
    serve: Any, other: Service
) -> None:
    service = await serve(hello)
    client = await service.connect()
    await client.ask()
    offered: list[Any] = []
    service.engine.drain(offered.append)
    client.close()
    Taker(other)(offered[0])
    await asyncio.wait_for(service.empty.wait(), 5)
    await other.until(lambda: other.engine.counters.connections_adopted and not other.engine.connections)


async def test_a_connection_whose_client_wants_it_closed_is_never_offered(serve: Any, other: Service) -> None:
    gate = Gate()
    service = await serve(gate)
    client = await service.connect()
    await client.send(get("/", "Connection: close"))
    await gate.asked.wait()
    taker = Taker(other)
    service.engine.drain(taker)
    gate.open.set()
    assert (await client.reply())["connection"] == "close"
    assert await client.closed()
    assert taker.offered == []


async def test_an_event_stream_s_connection_moves_after_its_end(serve: Any, other: Service) -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await receive()

    service = await serve(stream, stream=0.0, spread=0.02)
    client = await service.connect()
    await client.send(GET)
    await client.head()
    service.engine.drain(Taker(other))
    assert await client._chunks() == b"data: 1\n\n"
    assert (await client.ask()).body == b"other"
