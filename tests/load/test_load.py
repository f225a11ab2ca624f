"""What a load promises besides telling failures apart: bounds, steps, identity of connections, a clean
end."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from hitless.load import Failure, Latency, Limits, Load, LoadError, Request, Share, Target, get, round_trip

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def good(peer):
    await peer.answer(100_000)


async def test_every_client_keeps_one_connection(serve):
    async with Load(await serve(good), clients=20, think=(0, 0.01)) as load:
        await load.warm(5)
        await load.more(500, 10)
    report = await load.stop()
    assert report.connections == (1,) * 20
    assert report.reopened == 0
    assert report.requests >= 520


async def test_clients_are_spread_over_the_targets(serve):
    first, second = [], []

    def counting(seen):
        async def handler(peer):
            seen.append(peer.nth)
            await good(peer)

        return handler

    async with Load([await serve(counting(first)), await serve(counting(second))], clients=10) as load:
        await load.warm(5)
    assert (len(first), len(second)) == (5, 5)


async def test_each_step_has_its_own_numbers(serve):
    bad = asyncio.Event()

    async def handler(peer):
        while (await peer.request())[0]:
            await peer.send(OK.replace(b"200", b"500") if bad.is_set() else OK)

    async with Load(await serve(handler), clients=2, think=(0.001, 0.002)) as load:
        await load.more(50, 5)
        load.step("bad")
        bad.set()
        await load.more(50, 5)
        bad.clear()
        load.step("good again")
        await load.more(50, 5)
        assert load.stats("bad").failures[Failure.BAD_STATUS] >= 40
    report = await load.stop()
    assert report.step("steady").failed == 0
    assert report.step("bad").failed >= 40
    assert report.step("good again").failed <= 2  # answered bad just before
    assert report.requests == sum(step.requests for step in report.steps)
    assert report.failed == sum(step.failed for step in report.steps)
    with pytest.raises(KeyError, match="no step 'other'"):
        report.step("other")


async def test_windows_select_the_requests_under_way_in_them(serve):
    async def handler(peer):
        while (await peer.request())[0]:
            await asyncio.sleep(0.15 if peer.nth == 0 else 0)
            await peer.send(OK)

    async with Load(await serve(handler), clients=1, limits=Limits(requests=2)) as load:
        await load.done()
    report = await load.stop()
    began, second = report.samples.started
    assert report.samples.between(began + 0.05, began + 0.06).count == 1
    assert report.samples.between(began, second).count == 2
    assert report.samples.between(began - 2, began - 1).count == 0
    assert report.samples.between(second + 10, second + 11).count == 0


async def test_it_ends_by_itself_at_its_limits(serve):
    url = await serve(good)
    async with Load(url, clients=4, limits=Limits(requests=100)) as load, asyncio.timeout(5):
        await load.done()
    assert 100 <= (await load.stop()).requests <= 104
    async with Load(url, clients=4, think=(0, 0.01), limits=Limits(seconds=0.1)) as load, asyncio.timeout(5):
        await load.done()
    assert (await load.stop()).failed == 0


async def test_stopping_finishes_what_is_under_way_and_fails_nothing(serve):
    arrived, let_go = asyncio.Event(), asyncio.Event()

    async def handler(peer):
        await peer.request()
        arrived.set()
        await let_go.wait()
        await peer.send(OK)

    async with Load(await serve(handler), clients=1, think=(60, 60)) as load:
        await arrived.wait()
        stopping = asyncio.create_task(load.stop())
        await asyncio.sleep(0)
        let_go.set()
        report = await asyncio.wait_for(stopping, 5)
    assert (report.requests, report.failed) == (1, 0)


async def test_stopping_does_not_wait_for_a_client_that_thinks(serve):
    async with Load(await serve(good), clients=8, think=(600, 600)) as load:
        await load.warm(5)
        async with asyncio.timeout(2):
            report = await load.stop()
    assert (report.requests, report.failed) == (8, 0)


async def test_a_load_that_cannot_warm_up_says_why(serve):
    async def handler(peer):
        await peer.request()

    async with Load(await serve(handler), clients=3, think=(0.01, 0.02)) as load:
        with pytest.raises(TimeoutError, match=r"3 of 3 clients were not answered.*reset"):
            await load.warm(0.3)


async def test_a_client_that_cannot_go_on_ends_the_load_at_once(serve, monkeypatch):
    async def dial(*_, **__):
        raise LoadError("no descriptors")

    monkeypatch.setattr("hitless.load.client.dial", dial)
    async with asyncio.timeout(5):
        load = await Load(await serve(good), clients=2, think=(60, 60)).__aenter__()
        await load.done()
        with pytest.raises(LoadError, match="no descriptors"):
            await load.stop()


async def test_an_upload_is_read_back_and_compared(serve):
    store: dict[bytes, bytes] = {}

    def handler_of(damage: bool):
        async def handler(peer):
            while (request := await peer.request())[0]:
                head, body = request
                method, path, _ = head.split(b" ", 2)
                answer = b""
                if method == b"PUT":
                    store[path] = body[:-1] + b"!" if damage else body
                elif method == b"GET":
                    answer = store[path]
                else:
                    del store[path]
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))

        return handler

    mix = [Share(1, round_trip("/images/", sizes=(1, 100_000)))]
    async with Load(await serve(handler_of(False)), clients=4, mix=mix) as load:
        await load.more(60, 10)
    assert (await load.stop()).failed == 0
    async with Load(await serve(handler_of(True)), clients=4, mix=mix) as load:
        await load.more(60, 10)
    assert set((await load.stop()).failures) == {Failure.WRONG_BODY}


async def test_the_same_seed_asks_the_same(serve):
    async def asked(seed):
        bodies = []

        async def handler(peer):
            while (request := await peer.request())[0]:
                bodies.append(request[0])
                await peer.send(OK)

        def make(random):
            return Request(f"/{random.random()}")

        async with Load(await serve(handler), clients=1, mix=[Share(1, make)], seed=seed) as load:
            await load.more(20, 5)
        return [head.split(b"\r\n")[0] for head in bodies[:20]]

    assert await asked(1) == await asked(1)
    assert await asked(1) != await asked(2)


@pytest.mark.parametrize(
    "options", [{"clients": 0}, {"clients": 10**6}, {"think": (2, 1)}, {"think": (-1, 1)}]
)
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(LoadError, match="expected"):
        Load("http://127.0.0.1:1", **options)


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x/", "http:///x"])
def test_urls_that_make_no_sense_are_refused(url):
    with pytest.raises(LoadError, match="expected"):
        Target.parse(url)


def test_targets():
    assert Target.parse("http://127.0.0.1:81/a?b=c") == Target("127.0.0.1", 81, "/a?b=c")
    assert Target.parse("https://[::1]").authority == "[::1]:443"
    assert Target.parse("unix:/run/x.sock").unix == "/run/x.sock"
    assert str(Target.parse("http://h:1/x")) == "http://h:1/x"


def test_percentiles_are_nearest_ranks():
    latency = Latency.of([n / 1000 for n in range(1000, 0, -1)])
    assert latency == Latency(1000, 500.0, 990.0, 999.0, 1000.0)
    assert Latency.of([]) == Latency()


def test_get_of_nothing_goes_to_the_targets_path():
    assert get()(None).encode("h:1", "/x") == b"GET /x HTTP/1.1\r\nHost: h:1\r\n\r\n"  # type: ignore[arg-type]


async def test_the_command_follows_steps_from_its_input(serve):
    url = await serve(good)
    options = ("--clients", "4", "--think", "0:0.01", "--posts", "0.3", "--steps", "--json")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hitless.load", url, *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        assert await process.stderr.readline() == b"warm\n"
        out, err = await process.communicate(b"reload 1\nreload 2\n")
    assert process.returncode == 0, err
    report = json.loads(out)
    assert [step["name"] for step in report["steps"]] == ["steady", "reload 1", "reload 2"]
    assert report["failed"] == report["closed_by_server"] == report["reopened_clients"] == 0


async def test_the_command_exits_1_when_a_request_failed(serve):
    async def handler(peer):
        await peer.request()

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hitless.load", await serve(handler), "--clients", "1", "--seconds", "0.2"),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    assert process.returncode == 1
    assert b"reset=" in out


async def test_a_lack_of_descriptors_on_its_own_side_is_said_and_not_blamed_on_the_server(serve):
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", 'ulimit -n 30; exec "$@"', "sh"),
        *(sys.executable, "-m", "hitless.load", await serve(good), "--clients", "100"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert b"use fewer clients" in err
    assert b"Traceback" not in err
