"""Every way in which a server can fail a client is detected, told apart from the others, and counted once."""

from __future__ import annotations

import asyncio
import hashlib
import socket

import pytest

from hitless.load import Failure, How, Limits, Load, Report, Request, ServerClose, Share, post

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def load(url: str, *, requests: int = 4, timeout_s: float = 5.0, **options) -> Report:
    """One client, so many requests."""
    async with Load(url, clients=1, limits=Limits(timeout_s, requests), **options) as running:
        async with asyncio.timeout(20):
            await running.done()
        return await running.stop()


def asking(**fields) -> list[Share]:
    return [Share(1, lambda _: Request(**fields))]


async def test_a_good_server_fails_nothing_and_closes_nothing(serve):
    report = await load(await serve(lambda peer: peer.answer(1000)), requests=200)
    assert report.requests == 200
    assert report.failed == 0
    assert report.closed_by_server == 0
    assert report.connections == (1,)
    assert report.total.latency.count == 200


async def test_nobody_listens():
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        report = await load(f"http://127.0.0.1:{unheard.getsockname()[1]}", requests=2)
    assert report.failures == {Failure.REFUSED: 2}
    assert report.closed_by_server == 0
    assert report.connections == (0,)
    assert "ECONNREFUSED" in str(report.failed_requests[0])


async def test_a_missing_unix_socket_is_a_refusal(tmp_path):
    report = await load(f"unix:{tmp_path}/none.sock", requests=1)
    assert report.failures == {Failure.REFUSED: 1}


async def test_a_fresh_connection_is_reset(serve):
    async def handler(peer):
        await peer.request()
        peer.reset()

    report = await load(await serve(handler), requests=2)
    assert report.total.hows == {(Failure.RESET, How.RST): 2}
    assert report.total.closes == {ServerClose.FAILED: 2}


async def test_a_fresh_connection_is_closed_without_an_answer(serve):
    async def handler(peer):
        await peer.request()

    report = await load(await serve(handler), requests=2)
    assert report.total.hows == {(Failure.RESET, How.EOF): 2}


async def test_a_re_used_connection_is_closed_under_the_next_request(serve):
    async def handler(peer):
        await peer.answer()
        await peer.request()

    report = await load(await serve(handler))
    assert report.total.hows == {(Failure.STALE, How.EOF): 2}
    assert report.closed_by_server == 2
    assert report.connections == (2,)
    assert report.reopened == 1


async def test_a_re_used_connection_is_reset_under_the_next_request(serve):
    async def handler(peer):
        await peer.answer()
        await peer.request()
        peer.reset()

    report = await load(await serve(handler))
    assert report.total.hows == {(Failure.STALE, How.RST): 2}


async def test_a_watchful_client_notices_an_idle_close_and_opens_another_connection(serve):
    report = await load(await serve(lambda peer: peer.answer()), think=(0.05, 0.05))
    assert report.failed == 0
    assert report.total.closes[ServerClose.IDLE] >= 3
    assert report.connections == (4,)


async def test_a_watchful_client_notices_an_idle_reset(serve):
    async def handler(peer):
        await peer.answer()
        peer.reset()

    report = await load(await serve(handler), think=(0.05, 0.05))
    assert report.failed == 0
    assert report.total.closes[ServerClose.IDLE] >= 3


@pytest.mark.parametrize("how", [How.EOF, How.RST])
async def test_a_blind_client_meets_an_idle_close_with_its_next_request(serve, how):
    async def handler(peer):
        await peer.answer()
        if how is How.RST:
            peer.reset()

    report = await load(await serve(handler), think=(0.05, 0.05), blind=True)
    assert report.total.hows == {(Failure.STALE, how): 2}
    assert report.closed_by_server == 2


async def test_a_large_body_sent_into_an_idle_close_is_told_from_a_reset(serve):
    mix = [Share(1, post(size=2_000_000))]
    report = await load(await serve(lambda peer: peer.answer()), think=(0.05, 0.05), blind=True, mix=mix)
    assert report.total.hows == {(Failure.STALE, How.EOF): 2}


async def test_a_connection_with_an_unasked_answer_is_not_used_again(serve):
    async def handler(peer):
        await peer.answer()
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await peer.request()

    report = await load(await serve(handler), think=(0.05, 0.05))
    assert report.failed == 0
    assert report.connections == (4,)


async def test_an_unasked_408_before_the_close_is_an_idle_close(serve):
    async def handler(peer):
        await peer.answer()
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    report = await load(await serve(handler), think=(0.05, 0.05))
    assert report.failed == 0
    assert set(report.total.closes) == {ServerClose.IDLE}


@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_response_is_cut(serve, part, reset):
    async def handler(peer):
        await peer.answer()
        await peer.request()
        await peer.send(part)
        await asyncio.sleep(0.02)  # so that the part is read before the RST discards it
        if reset:
            peer.reset()

    report = await load(await serve(handler), requests=2)
    assert report.total.hows == {(Failure.CUT, How.RST if reset else How.EOF): 1}
    assert report.total.closes == {ServerClose.FAILED: 1}


async def test_a_polite_close_is_no_failure_but_is_counted(serve):
    async def handler(peer):
        await peer.request()
        await peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    report = await load(await serve(handler))
    assert report.failed == 0
    assert report.total.closes == {ServerClose.POLITE: 4}
    assert report.connections == (4,)


async def test_a_body_that_ends_with_the_connection_is_whole_and_a_polite_close(serve):
    async def handler(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    digest = hashlib.sha256(b"all of it").hexdigest()
    report = await load(await serve(handler), mix=asking(expect_sha256=digest, expect_length=9))
    assert report.failed == 0
    assert report.total.closes == {ServerClose.POLITE: 4}


async def test_a_close_that_the_client_asked_for_is_not_the_servers(serve):
    async def handler(peer):
        await peer.request()
        await peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    report = await load(await serve(handler), mix=asking(headers=(("Connection", "close"),)))
    assert report.failed == 0
    assert report.closed_by_server == 0


async def test_no_answer_in_time(serve):
    async def handler(peer):
        await peer.request()
        await peer.request()  # until the client gives up

    report = await load(await serve(handler), requests=2, timeout_s=0.1)
    assert report.failures == {Failure.TIMED_OUT: 2}
    assert report.closed_by_server == 0
    assert 100 <= report.total.latency.max_ms < 1000
    assert report.connections == (2,)


async def test_a_status_that_was_not_expected(serve):
    async def handler(peer):
        while (await peer.request())[0]:
            await peer.send(OK.replace(b"200 OK", b"503 Busy"))

    report = await load(await serve(handler))
    assert report.failures == {Failure.BAD_STATUS: 4}
    assert report.connections == (1,)
    assert "status 503" in str(report.failed_requests[0])


@pytest.mark.parametrize("expectation", [{"expect_sha256": "0" * 64}, {"expect_length": 3}])
async def test_content_that_was_not_expected(serve, expectation):
    report = await load(await serve(lambda peer: peer.answer(10)), mix=asking(**expectation))
    assert report.failures == {Failure.WRONG_BODY: 4}
    assert report.connections == (1,)


async def test_what_is_not_http(serve):
    async def handler(peer):
        await peer.request()
        await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        await peer.request()

    report = await load(await serve(handler), requests=2)
    assert report.failures == {Failure.GARBLED: 2}
    assert report.closed_by_server == 0


async def test_bodies_arrive_whole_with_a_length_and_in_chunks(serve):
    sizes = []

    async def handler(peer):
        while (request := await peer.request())[0]:
            sizes.append((len(request[1]), b"chunked" in request[0]))
            await peer.send(OK)

    url = await serve(handler)
    report = await load(url, requests=50, mix=[Share(1, post(size=100_000, chunked=0.5))])
    assert report.failed == 0
    assert {size for size, _ in sizes} == {100_000}
    assert {chunked for _, chunked in sizes} == {True, False}


async def test_an_interim_response_is_not_the_answer(serve):
    async def handler(peer):
        while (await peer.request())[0]:
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)

    report = await load(await serve(handler), mix=asking(expect_length=2))
    assert report.failed == 0
    assert report.requests == 4


async def test_the_content_length_of_a_head_is_not_waited_for(serve):
    async def handler(peer):
        while (await peer.request())[0]:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")

    report = await load(await serve(handler), mix=asking(method="HEAD"))
    assert report.failed == 0
    assert report.connections == (1,)


async def test_an_answer_in_single_bytes_is_whole(serve):
    async def handler(peer):
        while (await peer.request())[0]:
            for byte in OK:
                await peer.send(bytes([byte]))

    report = await load(await serve(handler), mix=asking(expect_length=2))
    assert report.failed == 0
