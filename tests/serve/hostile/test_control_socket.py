"""The control socket of a real service: closed to others, and no way to disturb what is served."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from hitless.control import ControlError
from serve.clients import place, state, tell, unharmed
from serve.harm import until
from serve.service import Service, running, write_app

NOBODY: Final = 65534
PATIENCE_S: Final = 20.0
CALL: Final = """
import os, sys
from hitless.control import ControlClient, ControlError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for method in ("status", "reload", "stop", "scale", "rollback"):
    try:
        print(method, ControlClient(sys.argv[1], 5).call(method))
    except ControlError as error:
        print(method, "ControlError", error.code)
    except OSError as error:
        print(method, type(error).__name__)
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    write_app(tmp_path)
    with running(tmp_path, name="held", workers=2) as service:
        yield service


def path(service: Service) -> Path:
    return service.folder / "run" / "held.sock"


def as_nobody(service: Service) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", CALL, str(path(service))],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd="/",
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.root
def test_other_users_are_refused_by_the_socket_and_by_the_service(service: Service) -> None:
    assert path(service).stat().st_mode & 0o777 == 0o600
    told = as_nobody(service)
    assert len(told) == 5
    assert not any("generation" in answer for answer in told.values()), told

    # Even where the file system would let them in, the service looks at who they are.
    for folder in (path(service), *path(service).parents):
        folder.chmod(folder.stat().st_mode | 0o755 if folder.is_dir() else 0o666)
    assert set(as_nobody(service).values()) == {"ControlError forbidden"}
    assert state(service)["generation"] == 1


def lines(seed: int) -> Iterator[bytes]:
    """What no client would send."""
    chance = random.Random(seed)
    yield from (
        b"\n" * 1000,
        b'{}\n[]\nnull\n1\n"x"\n',
        b'{"method": "status"',
        b'{"id": 1, "method": "no such"}\n',
        b'{"id": 1, "method": "scale", "params": {"workers": -5}}\n',
        b'{"id": 1, "method": "scale", "params": {"workers": "many"}}\n',
        b'{"id": 1, "method": "reload", "params": []}\n',
        b'{"id": ' + b"[" * 100_000 + b"\n",
        b'{"id": 1, "method": "' + b"x" * 5_000_000 + b'"}\n',
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\xff\xfe\0\0\n",
    )
    for _ in range(20):
        yield chance.randbytes(chance.randrange(1, 5000)) + b"\n"


async def say(service: Service, data: bytes, *, hang_up: bool) -> None:
    """Some bytes to the socket; the service may close before it has read them all."""
    reader, writer = await asyncio.open_unix_connection(path(service))
    try:
        writer.write(data)
        await asyncio.wait_for(writer.drain(), PATIENCE_S)
        if not hang_up:
            writer.write_eof()
            await asyncio.wait_for(reader.read(), PATIENCE_S)
    except OSError:
        pass  # it has hung up, or its queue was full
    finally:
        writer.transport.abort()


async def test_garbage_on_the_control_socket_disturbs_nothing(service: Service) -> None:
    async with unharmed(place(service)):
        for data in lines(1):
            await say(service, data, hang_up=False)
            await say(service, data, hang_up=True)
    answer = state(service)
    assert answer["generation"] == 1
    assert answer["generations"][0]["wanted_workers"] == 2
    assert "Traceback" not in service.log


async def test_a_flood_on_the_control_socket_disturbs_nothing(service: Service) -> None:
    request = b'{"id": 1, "method": "status", "params": {}}\n'
    silent = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    try:
        async with unharmed(place(service)):
            for sock in silent:  # more than may be there at a time
                sock.setblocking(False)
                try:
                    sock.connect(str(path(service)))
                except BlockingIOError:
                    continue  # the queue is full, too
                sock.send(request * 10)  # and nobody reads the answers
            await asyncio.gather(
                *(say(service, request * 200, hang_up=bool(number % 2)) for number in range(50))
            )
    finally:
        for sock in silent:
            sock.close()

    async def has_room() -> bool:
        try:
            await asyncio.to_thread(tell, service, "status")
        except ControlError as refused:
            if refused.code != "too_many_clients":
                raise
            return False
        return True

    await until(has_room, "the service has noticed that the flood has gone")
    write_app(service.folder, "v2")
    assert (await asyncio.to_thread(tell, service, "reload"))["outcome"]["status"] == "applied"
    assert path(service).exists()
