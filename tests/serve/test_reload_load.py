from __future__ import annotations

import asyncio
from pathlib import Path

from hitless.load import Load, Share, get, post
from serve.service import Service, running, write_app

MIX = (Share(0.7, get("/")), Share(0.3, post("/", size=3000)))


async def reload_often(service: Service, *, reloads: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(reloads):
        write_app(service.folder, f"v{number + 2}", wsgi=service.settings["interface"] == "wsgi")
        result = await asyncio.to_thread(service.reload)
        assert result.code == 0, result.out + result.err
        # The pace of the reloads is what the test is about: they are spread over the whole time.
        await asyncio.sleep(max(0.0, began + (number + 1) * seconds / reloads - loop.time()))


async def under_load(service: Service, *, clients: int, reloads: int, seconds: float) -> None:
    host, port = service.address
    async with Load(f"http://{host}:{port}", clients=clients, think=(0, 3), mix=MIX) as load:
        await load.warm(10)
        await reload_often(service, reloads=reloads, seconds=seconds)
    report = await load.stop()
    assert report.failed == 0, report.as_json()
    assert report.closed_by_server == 0
    assert report.connections == (1,) * clients, "every client's TCP connection is the same at the end"
    assert report.requests > clients * seconds / 3


async def test_ten_reloads_in_sixty_seconds_lose_no_request_and_close_no_connection(tmp_path: Path) -> None:
    folders = {kind: tmp_path / kind for kind in ("asgi", "wsgi")}
    for kind, folder in folders.items():
        folder.mkdir()
        write_app(folder, wsgi=kind == "wsgi")
    with (
        running(folders["asgi"], name="asgi", workers=2, interface="asgi") as asgi,
        running(folders["wsgi"], name="wsgi", workers=2, interface="wsgi") as wsgi,
    ):
        await asyncio.gather(*(under_load(one, clients=64, reloads=10, seconds=60) for one in (asgi, wsgi)))
        for service in (asgi, wsgi):
            assert service.status()["generation"] == 11
