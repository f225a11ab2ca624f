"""The image store under `hitless serve`, through both of its interfaces: what the demonstration shows, as
promises."""

from __future__ import annotations

import asyncio

import pytest

from hitless.demo.place import place
from hitless.demo.service import serving
from hitless.load import Load, RequestFailed, Share, ask, get, round_trip
from hitless.load.long import slow_download, slow_upload

MIX = [Share(1, get("/images")), Share(1, round_trip("/images/", sizes=(1, 100_000)))]


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
async def test_reloads_fail_no_request_and_close_no_connection(interface):
    with place() as made:
        made.configure(
            app=f"imagestore.{interface}:app",
            bind=[f"127.0.0.1:{made.port}"],
            directory=str(made.root),
            env__IMAGESTORE_DATA=str(made.data("disk")),
            env__IMAGESTORE_DB=str(made.root / "catalog.sqlite"),
        )
        made.append(f'state_dir = "{made.root / "state"}"')
        async with serving("imagestore", made.config, log=made.log) as service:
            await _answering(service, made.url)
            report, endings = await _reloaded(service, made)
            assert (await service.command("stop")).code == 0
            assert await service.exited() == 0
    assert [str(failed) for failed in report.failed_requests] == []
    assert report.closed_by_server == 0
    assert report.connections == (1,) * len(report.connections)
    assert [ending.reason for ending in endings] == ["complete"] * 3


async def _reloaded(service, made):
    """Three reloads under clients and long work."""
    await slow_upload(f"{made.url}/images/big", size=20_000_000, seconds=0, pieces=10)
    works = [
        asyncio.create_task(slow_upload(f"{made.url}/images/slow", size=500_000, seconds=4)),
        asyncio.create_task(slow_upload(f"{made.url}/images/chunks", size=500_000, seconds=4, chunked=True)),
        asyncio.create_task(slow_download(f"{made.url}/images/big", size=20_000_000, seconds=4)),
    ]
    async with Load(made.url, clients=32, think=(0, 0.3), mix=MIX) as load:
        await load.warm()
        for version in ("2.0", "3.0", "4.0"):
            load.step(version)
            made.release(version)
            answer = await service.command("reload")
            assert answer.code == 0, f"{answer}{service.tail()}"
            assert f'"{version}"'.encode() in (await ask(f"{made.url}/version")).body
            await load.more(200)
        endings = await asyncio.gather(*works)
    return await load.stop(), endings


async def _answering(service, url):
    async with asyncio.timeout(20):
        while True:
            service.check_alive()
            try:
                await ask(f"{url}/healthz")
                return
            except RequestFailed:
                await asyncio.sleep(0.05)
